"""Losses, pseudo-labels and the weight of the unsupervised terms."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "class_weighted": ["ClassWeightedLoss", "class_weighted_cross_entropy"],
        "complementary_loss": ["complementary_loss"],
        "confident_pseudo_labels": ["confident_pseudo_labels"],
        "consistency_weight": ["ConsistencyWeight"],
        "decided_dice_ce": ["DecidedDiceCELoss"],
        "difficulty_weights": ["DifficultyWeights"],
        "distribution_weights": ["DistributionWeights"],
        "gradient_aware": ["GradientAwareLoss", "gradient_aware_cross_entropy", "gradient_aware_dice"],
        "pseudo_labels": ["PseudoLabels"],
        "soft_label_dice": ["SoftLabelDiceLoss"],
        "soft_target_loss": ["soft_target_loss"],
    },
)
