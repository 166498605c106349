"""One picture of a file as it is stored, and how large it may be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custom.errors import InputError

__all__ = [
    "MAX_PIXELS",
    "MAX_SOURCE_PIXELS",
    "MOST_MICRONS_PER_PIXEL",
    "Page",
    "allow_large_pictures",
    "require_pixels_at_most",
    "turn",
]

MAX_PIXELS = 50_000_000
"""Images with more pixels are refused in training: as float RGB such an image takes more than 600 MB."""

MAX_SOURCE_PIXELS = 250_000_000
"""`prepare` refuses larger pictures. Whole ROIs of histology need more than training takes."""

MOST_MICRONS_PER_PIXEL = 1000
"""Largest side of a pixel that a user may state, in micrometres: larger numbers are meant in another unit."""


@dataclass(frozen=True)
class Page:
    """One picture of a file as it is stored, neither turned nor scaled.

    Attributes:
        values: [H, W] grey values, or palette indices; or [H, W, 3] colours. Integers or floating-point numbers.
        bits: bits of a value, 1 to 64.
        palette: [N, 3] 8-bit colours of the indices; None where `values` are no indices.
        alpha: [H, W] opacity, `opaque` where a pixel is fully opaque; None without transparency.
        opaque: the largest value of `alpha`.
        orientation: EXIF orientation, 1 to 8; 1 is upright.
        white_is_zero: grey values count from white to black.
        lossy: values are only nearly those that were saved, as in JPEG.
    """

    values: NDArray
    bits: int = 8
    palette: NDArray[np.uint8] | None = None
    alpha: NDArray | None = None
    opaque: int = 255
    orientation: int = 1
    white_is_zero: bool = False
    lossy: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as stored."""
        return self.values.shape[1], self.values.shape[0]

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) after turning."""
        return self.size[::-1] if self.orientation >= 5 else self.size

    def is_transparent(self) -> bool:
        """Whether any pixel is not fully opaque."""
        return self.alpha is not None and bool((self.alpha != self.opaque).any())


def require_pixels_at_most(width: int, height: int, most_pixels: int, pages: int = 1) -> None:
    """Raise an `InputError` where there are more than `most_pixels` pixels; call it before decoding."""
    if width * height * pages > most_pixels:
        count = f"{width}x{height}" + (f"x{pages}" if pages > 1 else "")
        raise InputError(
            f"{count} pixels are more than {most_pixels}; scale or cut the image, or save it as a TIFF of tiles "
            "for inference"
        )


def turn(values: NDArray, orientation: int) -> NDArray:
    """`values` [H, W, ...] turned upright, given the EXIF orientation (1 to 8)."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


@contextmanager
def allow_large_pictures() -> Iterator[None]:
    """Raise Pillow's own bound, which is for the whole process, to `MAX_SOURCE_PIXELS` for a while."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = MAX_SOURCE_PIXELS
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
