"""Ignite engines: one trainer a stage, and the run that joins them."""

from custom.engines.alignment_trainer import AlignmentEvaluator, AlignmentTrainer
from custom.engines.autoencoder_trainer import AutoencoderEvaluator, AutoencoderTrainer
from custom.engines.labels_only import LabelsOnlyBaseline
from custom.engines.segmentation_trainer import SegmentationTrainer
from custom.engines.training_run import Stage, TrainingRun

__all__ = [
    "AlignmentEvaluator",
    "AlignmentTrainer",
    "AutoencoderEvaluator",
    "AutoencoderTrainer",
    "LabelsOnlyBaseline",
    "SegmentationTrainer",
    "Stage",
    "TrainingRun",
]
