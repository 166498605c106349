"""Predictions with their branches, taken apart."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

__all__ = ["SplitBranchesd"]


class SplitBranchesd(MapTransform):
    """Split soft labels [branches, W, H] in [0, K - 1] into the prediction and maps in [0, 1].

    The key itself keeps channel 0, [1, W, H] in [0, K - 1]. Added are "probability", [1, W, H], the prediction over
    K - 1 (with K = 2 the foreground's probability), and "disagreement", [1, W, H], the largest difference between two
    branches over K - 1 (zero without branches). Branches of hard labels, whose classes have no order, make
    "disagreement" 1 where they differ, and "probability" 1/2 there, 1 where they agree on a foreground class.

    >>> import torch
    >>> from custom.transforms import SplitBranchesd
    >>> soft = torch.tensor([0.5, 0.25, 0.75]).reshape(3, 1, 1)  # the mean, and two branches
    >>> item = SplitBranchesd("pred")({"pred": soft})
    >>> item["pred"].item(), item["disagreement"].item()
    (0.5, 0.5)

    Args:
        keys: key of the soft labels.
        num_classes: K, with the background.
        hard_labels: whether the predictions are class numbers without an order, see `SemiGDA`.
    """

    def __init__(self, keys: KeysCollection, num_classes: int = 2, hard_labels: bool = False) -> None:
        super().__init__(keys)
        self.num_classes = num_classes
        self.hard_labels = hard_labels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with its branches split."""
        item = dict(data)
        for key in self.key_iterator(item):
            soft = item[key]
            branches = soft[1:] if len(soft) > 1 else soft
            spread = branches.amax(dim=0, keepdim=True) - branches.amin(dim=0, keepdim=True)
            item["disagreement"] = spread / (self.num_classes - 1)
            item["probability"] = soft[:1] / (self.num_classes - 1)
            if self.hard_labels and len(soft) > 1:
                item["disagreement"] = (spread > 0).to(soft.dtype)
                item["probability"] = (branches > 0).any(dim=0, keepdim=True).to(soft.dtype) - item["disagreement"] / 2
            item[key] = soft[:1]
        return item
