"""Validation metrics of a model and of each of its branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from monai.handlers import IgniteMetricHandler
from monai.metrics import DiceMetric, MeanIoU
from monai.networks import one_hot
from torch import Tensor

from custom.labels import LabelCodec
from custom.labels.ignored import clear_ignored
from custom.metrics import HausdorffDistance95Metric

__all__ = ["branch_metrics", "hard_one_hot"]


def hard_one_hot(
    branch: str, branches: Sequence[str], num_classes: int
) -> Callable[[list[dict]], tuple[list[Tensor], list[Tensor]]]:
    """An Ignite output transform: soft labels of one branch and the truth as one-hot [K, W, H] lists.

    Both have background where the truth is `IGNORED_LABEL`, so these pixels have no influence on a metric.

    Args:
        branch: name of the branch.
        branches: names of the channels of "pred", [branches, W, H] soft labels in [0, K - 1].
        num_classes: K, with the background.
    """

    channel = list(branches).index(branch)

    def transform(output: list[dict]) -> tuple[list[Tensor], list[Tensor]]:
        truths = [item["label"] for item in output]
        predictions = [LabelCodec.harden(item["pred"][channel : channel + 1]) for item in output]
        return one_hot_lists(predictions, truths), one_hot_lists(truths, truths)

    def one_hot_lists(labels: list[Tensor], truths: list[Tensor]) -> list[Tensor]:
        cleared = map(clear_ignored, labels, truths)
        return [one_hot(each, num_classes, dim=0) for each in cleared]

    return transform


def branch_metrics(
    branches: Sequence[str], num_classes: int = 2, hausdorff: bool = True
) -> dict[str, IgniteMetricHandler]:
    """Mean Dice, IoU and HD95 [pixels] over images and foreground classes, as `dice/<branch>` and so on.

    Dice and IoU are 1 where truth and prediction are both empty and 0 where one of them is; HD95 is then 0 and the
    image's diagonal.

    Args:
        branches: names of the channels of "pred", the model's own prediction first.
        num_classes: K, with the background.
        hausdorff: whether to compute HD95, which takes longer than the others.
    """
    metrics: dict[str, IgniteMetricHandler] = {}
    for branch in branches:
        functions = {
            "dice": DiceMetric(include_background=False, ignore_empty=False),
            "iou": MeanIoU(include_background=False, ignore_empty=False),
        }
        if hausdorff:
            functions["hd95"] = HausdorffDistance95Metric()
        for name, function in functions.items():
            transform = hard_one_hot(branch, branches, num_classes)
            metrics[f"{name}/{branch}"] = IgniteMetricHandler(metric_fn=function, output_transform=transform)
    return metrics
