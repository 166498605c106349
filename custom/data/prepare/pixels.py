"""Open the pictures people really have: TIFF that Pillow refuses, 16 bits, EXIF orientation, very large ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from custom.errors import InputError

__all__ = ["MAX_SOURCE_PIXELS", "allow_large_pictures", "grey_levels", "orientation_of", "read_picture", "turn"]

MAX_SOURCE_PIXELS = 250_000_000
"""Larger pictures are refused. Whole ROIs of histology need more than training takes (`loading.MAX_PIXELS`)."""

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@contextmanager
def allow_large_pictures() -> Iterator[None]:
    """Raise Pillow's own bound, which is for the whole process, to `MAX_SOURCE_PIXELS` for a while."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = MAX_SOURCE_PIXELS
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def read_picture(path: Path) -> tuple[Image.Image, bool]:
    """The decoded picture as it is stored, and whether Pillow could read it (else tifffile did).

    Raises:
        InputError: broken, cut short, no picture, or more than `MAX_SOURCE_PIXELS` pixels.
    """
    try:
        with Image.open(path) as picture:
            _require_bearable(path, *picture.size)
            picture.load()
            return picture, True
    except InputError:
        raise
    except Exception as error:  # Pillow answers broken files with OSError, SyntaxError, ValueError, struct.error, ...
        if path.suffix.strip().lower() in (".tif", ".tiff"):
            return _read_tiff(path), False
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as an image; replace the file ({reason})") from error


def orientation_of(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 is upright and stands for every other value too."""
    value = picture.getexif().get(_ORIENTATION_TAG, 1)
    return value if value in _TURNS else 1


def turn(picture: Image.Image, orientation: int) -> Image.Image:
    """`picture` turned upright, given its EXIF orientation."""
    return picture.transpose(_TURNS[orientation]) if orientation in _TURNS else picture


def grey_levels(picture: Image.Image) -> int | None:
    """The largest grey value of a picture with 16 or 32 bits a pixel; None for 8 bits.

    Raises:
        InputError: values which are no grey levels of 16 bits. It does not name the file.
    """
    if picture.mode == "F":
        raise InputError("floating-point pixels; save it with 8 or 16 bits a channel")
    if not picture.mode.startswith("I"):
        return None
    lowest, highest = picture.getextrema()
    if lowest < 0 or highest > 65535:
        raise InputError("grey values outside 0 to 65535; save it with 8 or 16 bits a channel")
    return int(highest)


def _require_bearable(path: Path, width: int, height: int) -> None:
    if width * height > MAX_SOURCE_PIXELS:
        raise InputError(f"{path}: {width}x{height} pixels are more than {MAX_SOURCE_PIXELS}; tile or shrink the image")


def _read_tiff(path: Path) -> Image.Image:
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            _require_bearable(path, page.imagewidth, page.imagelength)
            values = page.asarray()
        if values.ndim == 3 and values.shape[0] in (3, 4) and values.shape[2] not in (3, 4):
            values = np.moveaxis(values, 0, -1)  # stored one colour after the other
        if values.ndim == 3 and values.dtype == np.uint16:
            values = np.rint(values / 257).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(values.squeeze()))
    except InputError:
        raise
    except Exception as error:  # tifffile too has many ways to say that a file is broken
        reason = " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as an image; replace the file ({reason})") from error
