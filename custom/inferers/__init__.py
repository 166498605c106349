"""Inferers."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "branch_inferer": ["BranchInferer"],
        "class_probabilities": ["class_probabilities"],
        "soft_dice_confidence": ["soft_dice_confidence"],
        "teacher": ["add_soft_labels", "predict_flipped"],
    },
)
