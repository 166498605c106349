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
    """Which pixels have a class: bool, of the shape of `labels`.

    >>> import torch
    >>> from custom.labels import IGNORED_LABEL, decided
    >>> decided(torch.tensor([0, 1, IGNORED_LABEL])).tolist()
    [True, True, False]
    """
    return labels != IGNORED_LABEL


def clear_ignored(values: Tensor, labels: Tensor) -> Tensor:
    """`values` with 0, the background, at the undecided pixels of `labels`; both of one shape, or broadcast to one.

    Infinite or missing values there go as well, and no gradient reaches them.

    >>> import torch
    >>> from custom.labels import IGNORED_LABEL, clear_ignored
    >>> clear_ignored(torch.tensor([3, 4, 5]), torch.tensor([0, 1, IGNORED_LABEL])).tolist()
    [3, 4, 0]
    """
    return torch.where(decided(labels), values, 0)


def decided_cells(labels: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which cells hold decided pixels alone: labels [B, 1, H, W] -> bool [B, 1, h, w].

    >>> import torch
    >>> from custom.labels import IGNORED_LABEL, decided_cells
    >>> labels = torch.tensor([0.0, 1.0, 1.0, IGNORED_LABEL]).reshape(1, 1, 1, 4)
    >>> decided_cells(labels, (1, 2)).flatten().tolist()
    [True, False]

    Args:
        labels: class indices or `IGNORED_LABEL`.
        grid: (h, w), into how many cells the image is divided.
    """
    return adaptive_max_pool2d((~decided(labels)).float(), grid) == 0


def mean_loss(loss: Callable[..., Tensor], prediction: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """The mean of an elementwise loss over some positions; 0, with a gradient of 0, over none.

    >>> import torch
    >>> from torch.nn.functional import mse_loss
    >>> from custom.labels import mean_loss
    >>> prediction, target = torch.tensor([[[[1.0, 9.0]]]]), torch.zeros(1, 1, 1, 2)
    >>> mean_loss(mse_loss, prediction, target, counted=torch.tensor([[[[True, False]]]])).item()
    1.0

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
