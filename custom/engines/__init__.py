"""Ignite engines: one trainer a stage, and the run that joins them."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "alignment_trainer": ["AlignmentEvaluator", "AlignmentTrainer"],
        "autoencoder_trainer": ["AutoencoderEvaluator", "AutoencoderTrainer"],
        "labels_only": ["LabelsOnlyBaseline"],
        "segmentation_trainer": ["SegmentationTrainer"],
        "training_run": ["Stage", "TrainingRun"],
    },
)
