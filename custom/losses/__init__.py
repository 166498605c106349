"""Losses, pseudo-labels and the weight of the unsupervised terms."""

from custom.losses.consistency_weight import ConsistencyWeight
from custom.losses.pseudo_labels import PseudoLabels
from custom.losses.soft_label_dice import SoftLabelDiceLoss

__all__ = ["ConsistencyWeight", "PseudoLabels", "SoftLabelDiceLoss"]
