"""Loading of a teacher's predictions, so that they move with the image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import get_track_meta
from monai.transforms import MapTransform
from monai.utils import convert_to_tensor
from torch.nn.functional import interpolate

from custom.errors import InputError

__all__ = ["LoadSoftLabeld"]


class LoadSoftLabeld(MapTransform):
    """Replace the path of a soft label by its probabilities, at the size of the image that the item holds.

    At that size, whatever turns and shifts the image can do the same with the label.

    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> import torch
    >>> from custom.transforms import LoadSoftLabeld
    >>> with TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/0.npy", np.full((1, 32, 32), 255, np.uint8))
    ...     item = LoadSoftLabeld("soft_label")({"image": torch.rand(3, 48, 40), "soft_label": f"{folder}/0.npy"})
    >>> item["soft_label"].shape, item["soft_label"].max().item()
    (torch.Size([1, 48, 40]), 1.0)

    Args:
        keys: of paths of files that `add_soft_labels` wrote, bytes [K - 1, W, H]; they become floats in [0, 1].
        image_key: of the image, [C, W, H].
        allow_missing_keys: skip keys which an item lacks; else a `KeyError`.

    Raises:
        InputError: a file that is missing or damaged.
    """

    def __init__(self, keys: KeysCollection, image_key: str = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths in `data` by tensors."""
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            values = torch.from_numpy(_read(loaded[key])).float() / 255
            size = tuple(loaded[self.image_key].shape[1:])
            values = interpolate(values[None], size, mode="bilinear", align_corners=False)[0]
            loaded[key] = convert_to_tensor(values, track_meta=get_track_meta())
        return loaded


def _read(path: str) -> np.ndarray:
    try:
        values = np.load(path, allow_pickle=False)
        if values.dtype == np.uint8 and values.ndim == 3 and values.size:
            return values
    except (OSError, ValueError, EOFError):
        pass
    raise InputError(f"{path} is no prediction of a teacher: delete it, and resume the run to have it made again")
