"""Dice of volumes in 3-D, from the slices that were predicted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.metrics import compute_dice
from torch import Tensor

from custom.labels.ignored import clear_ignored

__all__ = ["score_volume"]


def score_volume(labels: Tensor, branches: Sequence[str], num_classes: int = 2) -> dict[str, float]:
    """Dice over all voxels of one volume.

    >>> import torch
    >>> from custom.metrics import score_volume
    >>> truth, prediction = torch.zeros(2, 4, 4, 3).unbind()
    >>> truth[0], prediction[0, :2] = 1, 1
    >>> score_volume(torch.stack([truth, prediction]), ["mean"])["mean.dice"]  # 2 * 6 / (12 + 6)
    0.6666666865348816

    Args:
        labels: class indices [1 + branches, ...], the truth first, `IGNORED_LABEL` in it where the class is undecided:
            such voxels are in no score.
        branches: a name for each prediction.
        num_classes: K, with the background.

    Returns:
        For each branch `BRANCH.dice`, the mean over foreground classes, and with K > 2 `BRANCH.dice_class_1` and so on.
        It is 1 when both sides are empty.
    """
    truth, predictions = labels[:1].float(), labels[1:].float()
    classes = torch.arange(num_classes).reshape(-1, *(1,) * (labels.ndim - 1))
    y = (clear_ignored(truth, truth) == classes).float()[None].expand(len(predictions), *(-1,) * labels.ndim)
    y_pred = torch.stack([(clear_ignored(each[None], truth) == classes).float() for each in predictions])
    dice = compute_dice(y_pred, y, include_background=False, ignore_empty=False)
    scores: dict[str, float] = {}
    for name, values in zip(branches, dice, strict=True):
        scores[f"{name}.dice"] = values.nanmean().item()
        if num_classes > 2:
            scores |= {f"{name}.dice_class_{number}": value for number, value in enumerate(values.tolist(), 1)}
    return scores
