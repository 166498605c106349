"""A mask as it lies over its upright image."""

from __future__ import annotations

from pathlib import Path

from custom.errors import InputError
from custom.pixels.masks import Mask, read_mask
from custom.pixels.page import MAX_SOURCE_PIXELS

__all__ = ["OtherSize", "upright_mask"]


class OtherSize(InputError):
    """A mask has another size than its image."""


def upright_mask(path: Path, stored_size: tuple[int, int], orientation: int) -> tuple[Mask, bool]:
    """Read a mask as it lies over its upright image.

    A mask without an orientation of its own may have been drawn on the stored image or on the upright one. Its size
    decides; where both have one size it is taken as upright, as in training.

    Args:
        path: the mask.
        stored_size: (width, height) of the image as stored.
        orientation: EXIF orientation of the image.

    Returns:
        the upright mask; whether the orientation was a guess.

    Raises:
        OtherSize: of another size than the image.
        InputError: see `read_mask`.
    """
    mask = read_mask(path, MAX_SOURCE_PIXELS)
    upright_size = stored_size[::-1] if orientation >= 5 else stored_size
    doubtful = False
    if mask.orientation != 1:
        mask = mask.turned(mask.orientation)
    elif mask.size == stored_size and mask.size != upright_size:
        mask = mask.turned(orientation)
    else:
        doubtful = orientation != 1 and mask.size == stored_size
    if mask.size != upright_size:
        sizes = f"{mask.size[0]}x{mask.size[1]} pixels, its image {upright_size[0]}x{upright_size[1]}"
        raise OtherSize(f"{path} has {sizes}; give both the same size")
    return mask, doubtful
