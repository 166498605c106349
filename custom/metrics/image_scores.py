"""All scores of one image: overlap, distance, size, agreement of the branches, and the released script's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from monai.metrics import compute_dice, compute_iou
from torch import Tensor
from torch.nn.functional import interpolate

from custom.errors import InputError
from custom.labels.codec import LabelCodec
from custom.labels.ignored import clear_ignored, decided
from custom.metrics.hausdorff import compute_hausdorff_distance_95
from custom.metrics.release import release_scores

__all__ = ["own_size_dice", "score_image"]


def score_image(
    predictions: Tensor,
    truth: Tensor,
    branches: Sequence[str] = ("mean",),
    num_classes: int = 2,
    empty: str = "diagonal",
) -> dict[str, float]:
    """Compare the predictions of one image with its truth.

    Args:
        predictions: soft ordinal values in [0, K - 1], [branches, W, H].
        truth: class indices, [W, H]; `IGNORED_LABEL` where the class is undecided. Such pixels are in no score: both
            sides have background there, and shares are shares of the other pixels (nan if there are none).
        branches: a name for each prediction.
        num_classes: K, with the background.
        empty: rule for HD95, see `compute_hausdorff_distance_95`.

    Returns:
        For each branch `BRANCH.dice`, `.iou` and `.hd95` (mean over foreground classes; with K > 2 also of each class,
        `.dice_class_1` and so on), `.foreground` (share of the image) and `.one_side_empty` (1 if truth or prediction
        alone lacks a class). Dice and IoU are 1 when both sides are empty. `truth.foreground`. With three or more
        branches `differing_share`, the share of pixels in which the second and the third differ. For K = 2 the released
        script's `release.dice`, `.iou` and `.row_hausdorff` of the first branch, see `custom.metrics.release`.

    Raises:
        InputError: `branches` does not name each prediction, or `truth` holds other values than 0..K - 1 and
            `IGNORED_LABEL`.
    """
    if len(predictions) != len(branches):
        raise InputError(f"'pred' has {len(predictions)} channels but `branches` names {len(branches)}: name each one")
    known = decided(truth)
    labels, truth, y_pred, y = _sides(predictions, truth, num_classes)
    if not y.any(dim=1).all():
        raise InputError(f"the label holds values other than the class indices 0 to {num_classes - 1}")

    overlap, one_side_empty = _overlap(y_pred, y, empty), _one_side_empty(y_pred, y)
    scores: dict[str, float] = {}
    for index, branch in enumerate(branches):
        scores |= _means_and_classes(branch, {metric: values[index] for metric, values in overlap.items()})
        scores[f"{branch}.foreground"] = _share(labels[index][known] > 0)
        scores[f"{branch}.one_side_empty"] = int(one_side_empty[index])
    scores["truth.foreground"] = _share(truth[known] > 0)
    if len(branches) >= 3:
        scores["differing_share"] = _share(labels[1][known] != labels[2][known])
    if num_classes == 2:
        release = release_scores(labels[0].T, truth.T)  # from [W, H] to rows of the picture
        scores |= {f"release.{name}": value for name, value in release.items()}
    return scores


def own_size_dice(
    predictions: Tensor, truth: Tensor, branches: Sequence[str], num_classes: int = 2, hard_labels: bool = False
) -> dict[str, float]:
    """Dice at the size of the image as it was read, which the prediction is interpolated to.

    Args:
        predictions: as for `score_image`.
        truth: class indices of that size, [W, H], with `IGNORED_LABEL` where the class is undecided.
        branches: a name for each prediction.
        num_classes: K, with the background.
        hard_labels: whether the predictions are whole class numbers, of which the nearest is taken; others are
            interpolated bilinearly.

    Returns:
        `BRANCH.dice_own_size` for each branch, the mean over foreground classes; 1 when both sides are empty.
    """
    mode = {"mode": "nearest-exact"} if hard_labels else {"mode": "bilinear", "align_corners": False}
    resized = interpolate(predictions.float()[None], size=tuple(truth.shape), **mode)[0]
    _, _, y_pred, y = _sides(resized, truth, num_classes)
    dice = compute_dice(y_pred.float(), y.float(), include_background=False, ignore_empty=False)
    return {f"{name}.dice_own_size": values.nanmean().item() for name, values in zip(branches, dice, strict=True)}


def _sides(predictions: Tensor, truth: Tensor, num_classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What is compared: classes of the predictions and of the truth, background where undecided, and both one-hot."""
    labels = clear_ignored(LabelCodec.harden(predictions.float()).clamp(max=num_classes - 1), truth)
    truth = clear_ignored(truth, truth)
    return (
        labels,
        truth,
        _one_hot(labels, num_classes),
        _one_hot(truth[None], num_classes).expand(len(labels), -1, -1, -1),
    )


def _overlap(y_pred: Tensor, y: Tensor, empty: str) -> dict[str, Tensor]:
    """Dice, IoU and HD95 of each branch and foreground class, [branches, K - 1] each."""
    return {
        "dice": compute_dice(y_pred.float(), y.float(), include_background=False, ignore_empty=False),
        "iou": compute_iou(y_pred.float(), y.float(), include_background=False, ignore_empty=False),
        "hd95": compute_hausdorff_distance_95(y_pred, y, empty=empty),
    }


def _one_side_empty(y_pred: Tensor, y: Tensor) -> Tensor:
    """Whether a class is in the prediction alone or in the truth alone, bool [branches]."""
    return (y_pred[:, 1:].flatten(2).any(dim=2) ^ y[:, 1:].flatten(2).any(dim=2)).any(dim=1)


def _means_and_classes(branch: str, by_class: Mapping[str, Tensor]) -> dict[str, float]:
    """The mean of each metric over the foreground classes; with several of them also the value of each."""
    scores: dict[str, float] = {}
    for metric, values in by_class.items():
        scores[f"{branch}.{metric}"] = values.nanmean().item()
        if len(values) > 1:
            for number, value in enumerate(values.tolist(), start=1):
                scores[f"{branch}.{metric}_class_{number}"] = value
    return scores


def _one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """[B, W, H] -> bool [B, K, W, H]; a value that is no class is False everywhere."""
    return labels[:, None] == torch.arange(num_classes)[:, None, None]


def _share(mask: Tensor) -> float:
    return mask.float().mean().item()
