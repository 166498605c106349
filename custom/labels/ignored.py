"""Pixels whose class is undecided: where they are, and how losses and metrics leave them out.

A label tensor holds `custom.labels.IGNORED_LABEL` there. Such a pixel is no class: it is never drawn, encoded or
counted as one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from custom.labels.values import IGNORED_LABEL

__all__ = ["clear_ignored", "decided", "decided_cells", "mean_loss"]


def decided(labels: Tensor) -> Tensor:
    """Which pixels have a class: bool, of the shape of `labels`."""
    return labels != IGNORED_LABEL


def clear_ignored(values: Tensor, labels: Tensor) -> Tensor:
    """`values` with 0, the background, at the undecided pixels of `labels`; both of one shape, or broadcast to one.

    Infinite or missing values there go as well, and no gradient reaches them.
    """
    return torch.where(decided(labels), values, 0)


def decided_cells(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which cells hold decided pixels alone: labels [B, 1, H, W] -> bool [B, 1, h, w].

    Args:
        labels: class indices or `IGNORED_LABEL`.
        grid: (h, w), into how many cells the image is divided.
    """
    return adaptive_max_pool2d((~decided(labels)).float(), grid) == 0


def mean_loss(loss: Callable[..., Tensor], prediction: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """The mean of an elementwise loss over some positions; 0, with a gradient of 0, over none.

    Args:
        loss: such as `torch.nn.functional.mse_loss`, with the argument `reduction`.
        prediction: [B, C, H, W].
        target: of the same shape.
        counted: which positions count, bool [B, 1, H, W]. If all do, the result is that of `loss` to the last bit.
    """
    if counted.all():
        return loss(prediction, target)
    each = loss(prediction, target, reduction="none")
    counted = counted.expand_as(each)
    return torch.where(counted, each, 0).sum() / counted.sum().clamp(min=1)
