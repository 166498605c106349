"""Losses, pseudo-labels and the weight of the unsupervised terms."""

from custom.losses.complementary_loss import complementary_loss
from custom.losses.confident_pseudo_labels import confident_pseudo_labels
from custom.losses.consistency_weight import ConsistencyWeight
from custom.losses.decided_dice_ce import DecidedDiceCELoss
from custom.losses.pseudo_labels import PseudoLabels
from custom.losses.soft_label_dice import SoftLabelDiceLoss

__all__ = [
    "ConsistencyWeight",
    "DecidedDiceCELoss",
    "PseudoLabels",
    "SoftLabelDiceLoss",
    "complementary_loss",
    "confident_pseudo_labels",
]
