"""Images that another program has loaded, brought to what `LoadImageAndLabeld` gives."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

from custom.volumes import AUTO, Volume, check_window, windowed
from custom.volumes.window import Window

__all__ = ["EnsureBrightnessd", "is_brightness", "mark_brightness"]

_MARK = "is_brightness"


class EnsureBrightnessd(MapTransform):
    """Channels first and values in [0, 1], for images that did not come from `LoadImageAndLabeld`; those pass.

    Programs such as MONAI Deploy load images themselves and give them in the units of their files. Colours in 0 to 255
    are divided by 255, grey images are windowed, see `custom.volumes.windowed`.

    >>> import torch
    >>> from monai.data import MetaTensor
    >>> from custom.transforms import EnsureBrightnessd
    >>> slices = MetaTensor(torch.tensor([[[-160.0, 40.0, 240.0]]]), meta={"original_channel_dim": "no_channel"})
    >>> ready = EnsureBrightnessd("image", window=(-160, 240))({"image": slices})["image"]
    >>> tuple(ready.shape), [round(value, 2) for value in ready.flatten().tolist()]
    ((1, 1, 1, 3), [0.0, 0.5, 1.0])

    Args:
        keys: keys of images. Without the mark of the loader: volumes [I, J, K], or with a channel where
            `original_channel_dim` of their metadata says: 0 (first), -1 (last), or "no_channel"; colours in the last
            axis, [I, J, K, 3], count as channels.
        window: which values become black and white: "auto" or [low, high].
    """

    def __init__(self, keys: KeysCollection, window: Window = AUTO) -> None:
        super().__init__(keys)
        self.window = check_window(window)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The item with its images ready."""
        item = dict(data)
        for key in self.key_iterator(item):
            if not is_brightness(item[key]):
                item[key] = mark_brightness(self._ready(item[key]))
        return item

    def _ready(self, image: MetaTensor) -> MetaTensor:
        values = _channel_first(image.as_tensor(), image.meta.get("original_channel_dim", "no_channel"))
        is_8_bits = values.dtype == torch.uint8
        if len(values) == 3:
            ready = values.float() / 255
        else:
            volume = Volume(values[0].numpy().astype(np.float32), np.eye(4), is_8_bits)
            ready = torch.from_numpy(windowed(volume, self.window)).float()[None] / 255
        meta = {key: value for key, value in image.meta.items() if key != "affine"}
        meta |= {"original_channel_dim": 0, "spatial_shape": np.asarray(ready.shape[1:])}
        return MetaTensor(ready, affine=image.affine, meta=meta)


def is_brightness(image: Any) -> bool:
    """Whether `LoadImageAndLabeld` or `EnsureBrightnessd` gave the image."""
    return isinstance(image, MetaTensor) and bool(image.meta.get(_MARK, False))


def mark_brightness(image: MetaTensor) -> MetaTensor:
    """The same image, known to `is_brightness`."""
    image.meta[_MARK] = True
    return image


def _channel_first(values: Tensor, channel: Any) -> Tensor:
    colours = values.ndim == 4 and values.shape[-1] == 3
    if channel == -1 or (channel == "no_channel" and colours):
        return values.movedim(-1, 0)
    return values if channel == 0 else values[None]
