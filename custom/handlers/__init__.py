"""Ignite handlers: validation metrics, checkpoints, tracking, progress, pictures, tables and reports."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "branch_metrics": ["branch_metrics", "hard_one_hot"],
        "evaluation_report": ["EvaluationReport"],
        "gradient_averaging": ["GradientAveraging"],
        "panels": ["PanelSaver"],
        "prediction_files": ["PredictionFiles"],
        "prediction_table": ["PredictionTable"],
        "progress": ["attach_progress"],
        "stage_checkpoint": ["StageCheckpoint"],
        "tracking": ["TrackingHandler"],
    },
)
