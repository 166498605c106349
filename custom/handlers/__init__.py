"""Ignite handlers: metrics, checkpoints, tracking, progress, pictures and reports."""

from custom.handlers.branch_metrics import branch_metrics, hard_one_hot
from custom.handlers.evaluation_report import EvaluationReport, format_summary, format_table
from custom.handlers.gradient_averaging import GradientAveraging
from custom.handlers.panels import PanelSaver
from custom.handlers.prediction_table import PredictionTable
from custom.handlers.progress import attach_progress
from custom.handlers.stage_checkpoint import StageCheckpoint
from custom.handlers.tracking import ExperimentTracker, TrackingHandler

__all__ = [
    "EvaluationReport",
    "ExperimentTracker",
    "GradientAveraging",
    "PanelSaver",
    "PredictionTable",
    "StageCheckpoint",
    "TrackingHandler",
    "attach_progress",
    "branch_metrics",
    "format_summary",
    "format_table",
    "hard_one_hot",
]
