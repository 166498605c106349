"""Dice and cross-entropy against probabilities instead of classes."""

from __future__ import annotations

from torch import Tensor

__all__ = ["soft_target_loss"]

SMOOTHING = 1e-5


def soft_target_loss(logits: Tensor, targets: Tensor, counted: Tensor) -> Tensor:
    """(CE + Dice) / 2 of logits and target probabilities over some pixels; 0, with a gradient of 0, over none.

    With p the softmax, t the targets and N the number of counted pixels,
    CE = -1/N sum_n sum_c t log p, and Dice = 1 - mean_c (2 sum_n t p + s) / (sum_n t^2 + sum_n p^2 + s), s = 1e-5, the
    sums over the counted pixels of the whole batch. For targets of 0 and 1 it is the supervised loss,
    `custom.methods.trainer.dice_and_cross_entropy`. Dice is 0, and CE the entropy of t, where p = t.

    >>> import torch
    >>> from custom.losses import soft_target_loss
    >>> targets = torch.tensor([0.5, 0.5]).reshape(1, 2, 1, 1)
    >>> loss = soft_target_loss(torch.zeros(1, 2, 1, 1), targets, torch.ones(1, 1, 1, 1, dtype=torch.bool))
    >>> round(loss.item(), 4)  # ln(2) / 2
    0.3466

    Args:
        logits: [B, K, H, W].
        targets: probabilities of the same shape, which get no gradient.
        counted: bool [B, 1, H, W].
    """
    pixels = counted.sum().clamp(min=1)
    logarithms = logits.log_softmax(dim=1)
    targets = targets.detach() * counted
    probabilities = logarithms.exp() * counted
    cross_entropy = -(targets * logarithms).sum() / pixels
    axes = (0, 2, 3)
    overlap = (targets * probabilities).sum(axes)
    size = targets.square().sum(axes) + probabilities.square().sum(axes)
    dice = 1 - (2 * overlap + SMOOTHING) / (size + SMOOTHING)
    return (cross_entropy + dice.mean()) / 2
