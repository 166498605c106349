"""Cross-entropy and foreground Dice with a weight for each class (DHC, GenericSSL)."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from custom.labels import IGNORED_LABEL
from custom.labels.ignored import decided

__all__ = ["ClassWeightedLoss", "class_weighted_cross_entropy"]


def class_weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """sum_n w_{y_n} CE_n / sum_n w_{y_n} over the decided pixels n, a scalar; 0 where that sum of weights is 0.

    PyTorch's own is not a number there: for a batch without lesion, if the background's weight is 0.

    >>> import torch
    >>> from custom.losses import class_weighted_cross_entropy
    >>> class_weighted_cross_entropy(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, 1), torch.tensor([0.0, 2.0])).item()
    0.0

    Args:
        logits: [B, K, H, W].
        labels: class indices or `IGNORED_LABEL`, [B, 1, H, W].
        weights: w, [K], not negative.
    """
    classes = labels[:, 0].long()
    counts = torch.bincount(classes[decided(classes)], minlength=len(weights))
    each = cross_entropy(logits, classes, weights, ignore_index=IGNORED_LABEL, reduction="sum")
    return each / (weights * counts).sum().clamp_min(1e-8)


class ClassWeightedLoss(nn.Module):
    """cross_entropy_weight CE_w + dice_weight mean_{c > 0} w_c (1 - D_c), over the decided pixels of the batch.

    CE_w is `class_weighted_cross_entropy`. D_c = (2 sum_n p y + 1) / (sum_n p + sum_n y + 1) is the Dice of a class of
    the foreground, without squares. The releases of DHC and GenericSSL minimise - mean w_c D_c, of the same gradient.

    >>> import torch
    >>> from custom.losses import ClassWeightedLoss
    >>> labels = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    >>> round(ClassWeightedLoss()(torch.zeros(1, 2, 1, 2), labels).item(), 4)  # (ln(2) + 1 - 2 / 3) / 2
    0.5132

    Args:
        dice_weight: weight of the Dice loss.
        cross_entropy_weight: weight of the cross-entropy.
    """

    def __init__(self, dice_weight: float = 0.5, cross_entropy_weight: float = 0.5) -> None:
        super().__init__()
        self.dice_weight = dice_weight
        self.cross_entropy_weight = cross_entropy_weight
        self.dice = DiceLoss(
            include_background=False,
            to_onehot_y=True,
            softmax=True,
            batch=True,
            smooth_nr=1.0,
            smooth_dr=1.0,
            reduction="none",
            ignore_index=IGNORED_LABEL,
        )

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """A scalar.

        Args:
            logits: [B, K, H, W].
            labels: class indices or `IGNORED_LABEL`, [B, 1, H, W].
            weights: w, [K], not negative; None for 1 each.
        """
        weights = torch.ones(logits.shape[1], device=logits.device) if weights is None else weights
        dice = (weights[1:] * self.dice(logits, labels).flatten()).mean()
        cross = class_weighted_cross_entropy(logits, labels, weights)
        return self.dice_weight * dice + self.cross_entropy_weight * cross
