"""The run that joins the stages of a training, and the comparison with the labels alone."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "branch_evaluator": ["BranchEvaluator"],
        "details": ["first_stage_name"],
        "labels_only": ["LabelsOnlyBaseline"],
        "training_run": ["Stage", "Test", "TrainingRun"],
    },
)
