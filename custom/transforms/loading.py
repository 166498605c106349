"""From image and mask files to tensors: the only place which knows how pixels are stored."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import PILReader
from monai.transforms import LoadImage, MapTransform
from PIL import Image, ImageOps

from custom.errors import InputError

__all__ = ["MAX_PIXELS", "LoadImageAndLabeld", "image_to_rgb", "mask_to_classes", "open_as"]

MAX_PIXELS = 50_000_000
"""Images with more pixels are refused: as float RGB such an image takes more than 600 MB."""

_COLOUR_CHANNELS = {"LA": 1, "RGB": 3, "RGBA": 3}
"""Channels which hold a mask's value, by Pillow mode; the others are transparency."""


class LoadImageAndLabeld(MapTransform):
    """Load an image, and its mask where the item has one, from the paths in a data item.

    The image becomes a float32 `MetaTensor` [3, W, H] in [0, 1], the label one [1, W, H] of class indices
    0..num_classes-1; W comes first, as with every MONAI reader. `meta` holds among others `filename_or_obj` and
    `spatial_shape` (W, H). EXIF orientation is applied to both, so that a photograph and its mask match.

    Args:
        keys: the key of the image, followed by that of the label if labels are to be loaded.
        num_classes: number of classes, background included. Binary masks may hold 0/1 or 0/255.
        allow_missing_keys: load an item without a label (or image) as it is; else such an item is a `KeyError`.

    Raises:
        InputError: a file which is missing, broken, too large, or a mask which does not fit the classes.
    """

    def __init__(self, keys: KeysCollection, num_classes: int = 2, allow_missing_keys: bool = True) -> None:
        super().__init__(keys, allow_missing_keys)
        converters = (image_to_rgb, partial(mask_to_classes, num_classes=num_classes))
        if len(self.keys) > len(converters):
            raise ValueError(f"keys are those of the image and of the label, got {self.keys}")
        self.image_key = self.keys[0]
        self.readers = {key: PILReader(converter) for key, converter in zip(self.keys, converters, strict=False)}
        self.load = LoadImage(image_only=True, dtype=np.float32, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths in `data` by tensors."""
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            path = loaded[key]
            with _naming(path):
                loaded[key] = self.load(path, reader=self.readers[key])
            if key == self.image_key:
                loaded[key] /= 255
        return loaded


def image_to_rgb(image: Image.Image) -> Image.Image:
    """Any picture as 8-bit RGB, turned upright by its EXIF orientation.

    Grey is repeated over the three channels, 16-bit grey scaled to 8 bit, transparency dropped.

    Raises:
        InputError: more than `MAX_PIXELS` pixels, or pixels which are neither 8 nor 16 bit. It does not name the file.
    """
    image = _upright(image)
    if image.mode == "F":
        raise InputError("the image has floating-point pixels; save it with 8 or 16 bits a channel")
    if image.mode.startswith("I"):
        image = _grey_8_bit(np.asarray(image))
    return image.convert("RGB")


def mask_to_classes(mask: Image.Image, num_classes: int) -> Image.Image:
    """A mask as an 8-bit grey ("L") picture of class indices 0..num_classes-1, turned upright by its EXIF orientation.

    Read are 1-bit, grey, palette (the indices, unless the palette is all grey) and colour masks with equal channels.
    With two classes, 255 counts as 1.

    Raises:
        InputError: more than `MAX_PIXELS` pixels, or values which are no class indices. It does not name the file.
    """
    values = _mask_values(_upright(mask))
    found = np.unique(values)
    if num_classes == 2 and np.isin(found, (0, 255)).all():
        values = values == 255
    elif not np.isin(found, range(num_classes)).all():
        expected = "0 and 1, or 0 and 255" if num_classes == 2 else f"class indices 0 to {num_classes - 1}"
        raise InputError(f"the mask holds the values {_listed(found)}, expected {expected}; save it so as PNG")
    return Image.fromarray(values.astype(np.uint8))


def open_as(path: str | PathLike, converter: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Read the whole file at `path` and convert it; whatever is wrong becomes an `InputError` naming the file."""
    with _naming(path), Image.open(path) as image:
        return converter(image)


@contextmanager
def _naming(path: str | PathLike) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; correct the path or restore the file") from error
    except Exception as error:  # Pillow answers broken files with OSError, SyntaxError, ValueError, struct.error, ...
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as an image; replace the file ({reason})") from error


def _upright(image: Image.Image) -> Image.Image:
    """`image` decoded and turned by its EXIF orientation, if decoding it is safe."""
    if image.width * image.height > MAX_PIXELS:
        raise InputError(f"{image.width}x{image.height} pixels are more than {MAX_PIXELS}; scale or tile the image")
    return ImageOps.exif_transpose(image)


def _grey_8_bit(grey: np.ndarray) -> Image.Image:
    if grey.min() < 0 or grey.max() > 65535:
        raise InputError("the image has grey values outside 0 to 65535; save it with 8 or 16 bits a channel")
    return Image.fromarray(np.round(grey / 257).astype(np.uint8))


def _mask_values(mask: Image.Image) -> np.ndarray:
    """The integer value [H, W] at each pixel of `mask`."""
    if mask.mode == "P" and _has_grey_palette(mask):
        mask = mask.convert("L")
    if mask.mode in _COLOUR_CHANNELS:
        colours = np.asarray(mask)[..., : _COLOUR_CHANNELS[mask.mode]]
        if (colours != colours[..., :1]).any():
            raise InputError("the mask is in colour; save one grey value per class as PNG")
        return colours[..., 0]
    if mask.mode in ("1", "L", "P") or mask.mode.startswith("I"):
        return np.asarray(mask).astype(np.int64)
    raise InputError(f"the mask has pixels of mode {mask.mode}; save one grey value per class as PNG")


def _has_grey_palette(mask: Image.Image) -> bool:
    palette = np.reshape(mask.getpalette("RGB"), (-1, 3))
    return bool((palette == palette[:, :1]).all())


def _listed(values: np.ndarray, shown: int = 5) -> str:
    return ", ".join(map(str, values[:shown].tolist())) + (", ..." if len(values) > shown else "")
