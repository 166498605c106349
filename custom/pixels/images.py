"""Images as 8-bit pictures, upright, whatever they are stored as."""

from __future__ import annotations

from os import PathLike

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custom.errors import InputError
from custom.pixels.naming import naming
from custom.pixels.page import MAX_PIXELS, MAX_SOURCE_PIXELS, Page, turn
from custom.pixels.reading import read_pages, stored_bits

__all__ = [
    "LEAST_BIT_DEPTH",
    "MOST_BIT_DEPTH",
    "bits_used",
    "largest_value",
    "read_image",
    "read_stored_image",
    "to_8_bits",
]

LEAST_BIT_DEPTH, MOST_BIT_DEPTH = 8, 16


def read_image(path: str | PathLike[str], bit_depth: int | None = MOST_BIT_DEPTH) -> Image.Image:
    """The image of a file as 8-bit RGB, turned upright by its EXIF orientation.

    Grey is repeated over the three channels and palettes are looked up. Images with more than 8 bits are scaled by
    2**bit_depth - 1; others need no depth.

    Args:
        path: a PNG, JPEG, TIFF or BMP file with one picture.
        bit_depth: bits (8 to 16) that the 16-bit images of the data set really use. None where that is unknown: then
            only an image that uses all 16 bits is taken.

    Raises:
        InputError: broken, too large, more pages than one, transparent, or values that do not fit. It names the file.
    """
    with naming(path):
        page = _only_page(path, MAX_PIXELS)
        return Image.fromarray(np.ascontiguousarray(turn(to_8_bits(page, bit_depth), page.orientation))).convert("RGB")


def read_stored_image(path: str | PathLike[str]) -> Page:
    """The image of a file as it is stored, up to `MAX_SOURCE_PIXELS` pixels, if `to_8_bits` can read it.

    Raises:
        InputError: see `read_image`.
    """
    with naming(path):
        page = _only_page(path, MAX_SOURCE_PIXELS)
        largest_value(page)
        return page


def bits_used(path: str | PathLike[str]) -> int | None:
    """Bits that the largest value of an image with more than 8 bits needs, at least 8; None for other images.

    Raises:
        InputError: see `read_image`.
    """
    with naming(path):
        if stored_bits(path) <= LEAST_BIT_DEPTH:
            return None
        highest = largest_value(_only_page(path, MAX_PIXELS))
        return None if highest is None else max(LEAST_BIT_DEPTH, highest.bit_length())


def largest_value(page: Page) -> int | None:
    """The largest value of an image with more than 8 bits per channel; None for other images.

    Raises:
        InputError: transparent, or values that are no brightness of 8 or 16 bits. It does not name the file.
    """
    if page.is_transparent():
        raise InputError("the image is transparent in places; flatten it and save it without transparency")
    if page.values.dtype.kind not in "uib":
        raise InputError("the image has floating-point pixels; save it with 8 or 16 bits per channel")
    lowest, highest = int(page.values.min()), int(page.values.max())
    if lowest < 0 or highest > 65535:
        raise InputError("the image has grey values outside 0 to 65535; save it with 8 or 16 bits per channel")
    if page.white_is_zero:
        if page.values.dtype.kind == "i" or page.bits > MOST_BIT_DEPTH:
            raise InputError("the TIFF counts from white and has signed or 32-bit values; save it with 8 or 16 bits")
        highest = 2**page.bits - 1 - lowest
    return highest if page.bits > 8 else None


def to_8_bits(page: Page, bit_depth: int | None) -> NDArray[np.uint8]:
    """The image as stored, in 8 bits: [H, W] where it is grey, else [H, W, 3].

    Args:
        page: the image.
        bit_depth: see `read_image`.

    Raises:
        InputError: see `largest_value`, or a value above the depth.
    """
    highest = largest_value(page)
    if page.palette is not None:
        return page.palette[page.values]
    values = page.values
    if page.white_is_zero:
        values = 2**page.bits - 1 - values.astype(np.int64)
    if highest is None:
        top = 2 ** min(page.bits, 8) - 1
        return values.astype(np.uint8) if top == 255 else (values.astype(np.int64) * 255 // top).astype(np.uint8)
    if bit_depth is None and highest < 2 ** (MOST_BIT_DEPTH - 1):
        raise InputError(
            f"the image has 16-bit pixels of which it uses {max(8, highest.bit_length())} bits, and the model has seen "
            "8-bit images only; save it with 8 bits, or give --bit_depth (8 to 16)"
        )
    depth = MOST_BIT_DEPTH if bit_depth is None else bit_depth
    if highest > 2**depth - 1:
        raise InputError(
            f"the image has values up to {highest}, more than the {depth} bits of the data set (bit_depth {depth}); "
            'give the image as the others were given, or the right "bit_depth" in datalist.json before training'
        )
    return np.rint(values / (2**depth - 1) * 255).astype(np.uint8)


def _only_page(path: str | PathLike[str], most_pixels: int) -> Page:
    return read_pages(path, most_pixels)[0]
