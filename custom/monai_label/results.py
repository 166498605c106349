"""The description that MONAI Label sends with a mask."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import MapTransform

from custom.checkpoints.untrained import is_trained
from custom.metrics import disputed_share

__all__ = ["DescribeResultd"]

_LOSSY = (".jpg", ".jpeg")


class DescribeResultd(MapTransform):
    """Adds the description that the JSON part of an answer holds, and keeps the mask from being stored as JPEG.

    "result" gets "trained", "foreground_share" and "disagreement", which is `custom.metrics.disputed_share`: the
    strategy of that name ranks images by it. An untrained model marks nothing. The mask of a JPEG image becomes a PNG
    file, unless the request names a format.

    Args:
        keys: key of the mask, class indices.
        model: the bundle's model file.
    """

    def __init__(self, keys: KeysCollection, model: str | os.PathLike) -> None:
        super().__init__(keys)
        self.model = model

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with its description."""
        item = dict(data)
        trained = is_trained(self.model)
        for key in self.key_iterator(item):
            if not trained:
                item[key] = item[key] * 0
            item["result"] = {
                **(item.get("result") or {}),
                "trained": trained,
                "foreground_share": round((item[key] > 0).float().mean().item(), 6),
                "disagreement": round(disputed_share(item["disagreement"], item["probability"]), 6),
            }
        if str(item.get("image_path", "")).lower().endswith(_LOSSY) and not item.get("result_extension"):
            item["result_extension"] = ".png"
        return item
