"""From image and mask files to tensors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, PILReader
from monai.transforms import LoadImage, MapTransform
from PIL import Image

from custom.pixels import read_class_indices, read_image
from custom.pixels.images import MOST_BIT_DEPTH
from custom.transforms.brightness import mark_brightness
from custom.volumes import AUTO, check_window, is_volume, read_volume, windowed
from custom.volumes.window import Window

__all__ = ["LoadImageAndLabeld"]

# MONAI makes all its readers, of which one misses a decoder of DICOM on GPUs that nothing here uses.
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)


class LoadImageAndLabeld(MapTransform):
    """Load an image or a volume, and the mask of an image where the item has one, from the paths in a data item.

    The image becomes a float32 `MetaTensor` [3, W, H] in [0, 1], the label one [1, W, H] of class indices
    0..num_classes-1, with `custom.labels.IGNORED_LABEL` where the class is undecided; W comes first, as with every
    MONAI reader. `meta` holds among others `filename_or_obj` and `spatial_shape` (W, H). EXIF orientation is applied
    to both, so that a photograph and its mask match.

    A volume, see `custom.volumes.is_volume`, becomes [1, I, J, K] in [0, 1] as it is stored ([3, I, J, K] where it is
    in colour), windowed, with its affine; `SliceOrientationd` turns it as its slices are shown.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from custom.transforms import LoadImageAndLabeld
    >>> with TemporaryDirectory() as folder:
    ...     Image.new("RGB", (48, 32), "white").save(f"{folder}/image.png")
    ...     Image.new("L", (48, 32), 255).save(f"{folder}/mask.png")
    ...     item = {"image": f"{folder}/image.png", "label": f"{folder}/mask.png"}
    ...     loaded = LoadImageAndLabeld(["image", "label"])(item)
    >>> loaded["image"].shape, loaded["label"].max().item()
    (torch.Size([3, 48, 32]), 1.0)

    Args:
        keys: the key of the image, followed by that of the label if labels are to be loaded.
        num_classes: number of classes, background included. Binary masks may hold 0/1 or 0/255.
        allow_missing_keys: load an item without a label (or image) as it is; else such an item is a `KeyError`.
        ignore_value: value of undecided pixels in the masks; None if there is no such value.
        bit_depth: bits (8 to 16) that the 16-bit images of the data set use; None where that is unknown. 8-bit images
            are divided by 255 always.
        bgr: give the colours in the order blue, green, red, as OpenCV does.
        window: which values of a volume become black and white: "auto" or [low, high], see `custom.volumes.windowed`.

    Raises:
        InputError: a file which is missing, broken, too large, or a mask which does not fit the classes; or `window`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        num_classes: int = 2,
        allow_missing_keys: bool = True,
        ignore_value: int | None = None,
        bit_depth: int | None = MOST_BIT_DEPTH,
        bgr: bool = False,
        window: Window = AUTO,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        read_label = partial(read_class_indices, num_classes=num_classes, ignore_value=ignore_value)
        readers = (partial(read_image, bit_depth=bit_depth), read_label)
        if len(self.keys) > len(readers):
            raise ValueError(f"keys are those of the image and of the label, got {self.keys}")
        self.image_key = self.keys[0]
        self.bit_depth = bit_depth
        self.bgr = bgr
        self.window = check_window(window)
        self.readers = {key: _PictureReader(read) for key, read in zip(self.keys, readers, strict=False)}
        with warnings.catch_warnings():  # of the same decoder
            warnings.simplefilter("ignore", UserWarning)
            self.load = LoadImage(image_only=True, dtype=np.float32, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths in `data` by tensors."""
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            path = loaded[key]
            if key == self.image_key and isinstance(path, (str, PathLike)) and is_volume(path):
                loaded[key] = _load_volume(loaded[key], self.window)
            else:
                loaded[key] = self.load(loaded[key], reader=self.readers[key])
            if key == self.image_key:
                loaded[key] /= 255
                if self.bgr:
                    loaded[key] = loaded[key].flip(0)
                mark_brightness(loaded[key])
        return loaded


def _load_volume(path: str | PathLike[str], window: Window) -> MetaTensor:
    """Brightness or colours in [0, 255], [1 or 3, I, J, K], float32."""
    volume = read_volume(path)
    values = torch.from_numpy(windowed(volume, window)).float()
    channel_first = values.movedim(-1, 0) if volume.is_colour else values[None]
    meta = {"filename_or_obj": str(path), "spatial_shape": np.asarray(channel_first.shape[1:])}
    return MetaTensor(channel_first.contiguous(), affine=torch.from_numpy(volume.affine), meta=meta)


class _PictureReader(PILReader):
    """MONAI's reader of pictures, which leaves the reading to a function from a path to a picture."""

    def __init__(self, read_picture: Callable[[str], Image.Image]) -> None:
        super().__init__()
        self.read_picture = read_picture

    def read(self, data: Sequence[str | PathLike] | str | PathLike, **_: Any) -> Image.Image:
        """The picture of the file `data`."""
        path = data if isinstance(data, (str, PathLike)) else data[0]
        return self.read_picture(path)
