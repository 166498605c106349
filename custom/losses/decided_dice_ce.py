"""Dice and cross-entropy over the pixels whose class is decided."""

from __future__ import annotations

from typing import Any

from monai.losses import DiceCELoss
from torch import Tensor

from custom.labels import IGNORED_LABEL
from custom.labels.ignored import decided

__all__ = ["DecidedDiceCELoss"]


class DecidedDiceCELoss(DiceCELoss):
    """MONAI's `DiceCELoss` of class indices; pixels labelled `IGNORED_LABEL` are in no sum and get no gradient.

    The mean of the cross-entropy goes over the decided pixels; it is 0 where there are none.

    >>> import torch
    >>> from custom.losses import DecidedDiceCELoss
    >>> labels = torch.tensor([1.0, 255.0]).reshape(1, 1, 1, 2)
    >>> logits = torch.zeros(1, 2, 1, 2, requires_grad=True)
    >>> DecidedDiceCELoss(softmax=True)(logits, labels).backward()
    >>> logits.grad[..., 1].count_nonzero().item()  # the ignored pixel
    0

    Args:
        kwargs: arguments of `DiceCELoss`; `to_onehot_y` is always on.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(to_onehot_y=True, **kwargs)
        # Both losses know how to ignore a label, MONAI's wrapper alone does not pass it on.
        self.dice.ignore_index = IGNORED_LABEL
        self.cross_entropy.ignore_index = IGNORED_LABEL

    def ce(self, input: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of logits [B, K, H, W] and class indices [B, 1, H, W]."""
        return super().ce(input, target) if decided(target).any() else 0 * input.sum()
