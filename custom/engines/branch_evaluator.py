"""Validation of a network and of each of its branches."""

from __future__ import annotations

from typing import Any

from monai.engines import SupervisedEvaluator
from torch import nn

from custom.handlers import branch_metrics

__all__ = ["BranchEvaluator"]


class BranchEvaluator(SupervisedEvaluator):
    """MONAI's evaluator with Dice, IoU and HD95 of every branch, named `dice/mean`, `dice/image_branch` and so on.

    The Dice of the prediction itself, the first of `network.branches`, chooses the best weights.

    Args:
        network: a network with `branches`, names of its predictions, and `num_classes`.
        kwargs: arguments of MONAI's `SupervisedEvaluator`.
    """

    def __init__(self, *, network: nn.Module, **kwargs: Any) -> None:
        metrics = {
            "key_val_metric": branch_metrics(network.branches[:1], network.num_classes, hausdorff=False),
            "additional_metrics": branch_metrics(network.branches, network.num_classes),
        }
        super().__init__(network=network, **{**metrics, **kwargs})
