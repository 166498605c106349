"""The plain values in a mask file, whatever its format."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custom.data.prepare.pixels import orientation_of, read_picture, turn
from custom.errors import InputError

__all__ = ["MaskSummary", "is_lossy", "summarise", "upright_mask_values"]

_LARGEST_GREY_DIFFERENCE = 32  # between the channels of a grey mask which JPEG has stored as colour
_COLOURS_KEPT = 64


@dataclass
class MaskSummary:
    """Which values masks hold, and how often.

    Attributes:
        counts: pixels by value.
        colours: pixels by (red, green, blue) of colour masks.
        lossy: some mask is JPEG.
        palette: some mask has a palette; its indices count, so they are never grey values.
        colour_mask: the first mask in colour.
    """

    counts: Counter[int] = field(default_factory=Counter)
    colours: Counter[tuple[int, int, int]] = field(default_factory=Counter)
    lossy: bool = False
    palette: bool = False
    colour_mask: Path | None = None

    def add(self, other: MaskSummary) -> None:
        """Take in the values of further masks."""
        self.counts.update(other.counts)
        self.colours.update(other.colours)
        self.lossy |= other.lossy
        self.palette |= other.palette
        self.colour_mask = self.colour_mask or other.colour_mask


def is_lossy(path: Path) -> bool:
    """Whether the file's pixels are only nearly those that were saved."""
    return path.suffix.strip().lower() in (".jpg", ".jpeg")


def upright_mask_values(
    path: Path, stored_size: tuple[int, int], orientation: int
) -> tuple[NDArray[np.integer], bool, bool]:
    """Read a mask as it lies over its upright image.

    A mask without an orientation of its own may have been drawn on the stored image or on the upright one. Its size
    tells; where both have one size it is taken as upright, as in training.

    Args:
        path: the mask.
        stored_size: (width, height) of the image as stored.
        orientation: EXIF orientation of the image.

    Returns:
        values [H, W], or colours [H, W, 3] if the channels differ; whether they are palette indices; whether the
        orientation was a guess.

    Raises:
        InputError: unreadable or of another size than the image.
    """
    mask, _ = read_picture(path)
    upright_size = stored_size[::-1] if orientation >= 5 else stored_size
    own_orientation = orientation_of(mask)
    doubtful = False
    if own_orientation != 1:
        mask = turn(mask, own_orientation)
    elif mask.size == stored_size and mask.size != upright_size:
        mask = turn(mask, orientation)
    else:
        doubtful = orientation != 1 and mask.size == stored_size
    if mask.size != upright_size:
        sizes = f"{mask.width}x{mask.height} pixels, its image {upright_size[0]}x{upright_size[1]}"
        raise InputError(f"{path} has {sizes}; give both the same size")
    palette = mask.mode == "P" and not _has_grey_palette(mask)
    return _values(mask, path), palette, doubtful


def summarise(values: NDArray[np.integer], path: Path, palette: bool) -> MaskSummary:
    """Count the values of one mask (as `upright_mask_values` gives them)."""
    summary = MaskSummary(lossy=is_lossy(path), palette=palette)
    if values.ndim == 3:
        packed = values.astype(np.int64) @ (65536, 256, 1)
        found, counts = np.unique(packed, return_counts=True)
        for place in np.argsort(counts)[::-1][:_COLOURS_KEPT]:
            value = int(found[place])
            summary.colours[value >> 16, value >> 8 & 255, value & 255] = int(counts[place])
        summary.colour_mask = path
    else:
        found, counts = np.unique(values, return_counts=True)
        summary.counts.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    return summary


def _values(mask: Image.Image, path: Path) -> NDArray[np.integer]:
    """[H, W] values or [H, W, 3] colours."""
    if mask.mode == "P" and _has_grey_palette(mask):
        mask = mask.convert("L")
    if mask.mode == "1":
        return np.asarray(mask).astype(np.uint8)
    if mask.mode in ("L", "P"):
        return np.asarray(mask)
    if mask.mode == "LA":
        return np.asarray(mask)[..., 0]
    if mask.mode.startswith("I"):
        return np.asarray(mask).astype(np.int64)
    if mask.mode == "F":
        values = np.asarray(mask)
        if (
            np.isfinite(values).all()
            and (values == np.rint(values)).all()
            and values.min() >= 0
            and values.max() < 65536
        ):
            return values.astype(np.int64)
        raise InputError(f"{path} has fractional values; save it as PNG with one value a class")
    colours = np.asarray(mask.convert("RGB"))
    difference = colours.max(2).astype(int) - colours.min(2)
    tolerated = _LARGEST_GREY_DIFFERENCE if is_lossy(path) else 0
    return colours[..., 1] if (difference <= tolerated).all() else colours


def _has_grey_palette(mask: Image.Image) -> bool:
    palette = np.reshape(mask.getpalette("RGB"), (-1, 3))
    return bool((palette == palette[:, :1]).all())
