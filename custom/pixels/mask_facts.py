"""Facts about one mask file, whatever its values mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from custom.pixels.masks import Mask
from custom.pixels.palettes import Colour

__all__ = ["NEAR_AN_END", "MaskFacts", "mask_facts", "share_of_white"]

NEAR_AN_END = 16
"""A grey value this close to 0 or 255 is meant as 0 or 255."""

_COLOURS_KEPT = 64
_VALUES_KEPT = 1024
_FEWEST_GREYS = 8  # of a smooth outline; fewer may well be classes
_OUTLINE_SHARE = 0.9  # of the greys between that lie near the outline of a smooth mask
_OUTLINE_REACH = 3  # pixels to either side


@dataclass(frozen=True)
class MaskFacts:
    """Which values a mask file holds, and how often.

    Attributes:
        path: the file.
        counts: pixels by value, or by index where there is a palette; empty for a mask in colour.
        colours: pixels by (red, green, blue) of a mask in colour.
        palette: colour by index that occurs; None without a palette.
        grey_palette: all colours of the palette are grey.
        odd_order: why the palette's indices and colours may be meant differently: see `find_odd_order`.
        bits: bits of a stored value.
        lossy: the values are only nearly those that were saved.
        smooth: the values between the ends lie along outlines, as where a mask was scaled or blurred.
        pages: pages that were joined.
    """

    path: str | PathLike[str]
    counts: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[Colour, int] = field(default_factory=dict)
    palette: Mapping[int, Colour] | None = None
    grey_palette: bool = False
    odd_order: str | None = None
    bits: int = 8
    lossy: bool = False
    smooth: bool = False
    pages: int = 1

    @property
    def values(self) -> frozenset[int]:
        """The values that occur."""
        return frozenset(self.counts)

    def without(self, value: int | None) -> MaskFacts:
        """The facts of the pixels that do not hold `value`."""
        return replace(self, counts={known: count for known, count in self.counts.items() if known != value})

    def with_counts(self, counts: Mapping[int, int]) -> MaskFacts:
        """The facts of a mask with other values in the place of its palette's indices."""
        return replace(self, counts=counts)


def mask_facts(mask: Mask, path: str | PathLike[str]) -> MaskFacts:
    """Count the values of a mask."""
    facts = {"bits": mask.bits, "lossy": mask.lossy, "pages": mask.pages}
    if mask.values.ndim == 3:
        packed = mask.values.astype(np.int64) @ (65536, 256, 1)
        found, counts = np.unique(packed, return_counts=True)
        commonest = np.argsort(counts)[::-1][:_COLOURS_KEPT]
        colours = {_unpacked(int(found[place])): int(counts[place]) for place in commonest}
        return MaskFacts(path, colours=colours, **facts)
    found, counts = np.unique(mask.values, return_counts=True)
    if len(found) > _VALUES_KEPT:  # far too many for classes: the ends and some between show as much
        kept = np.linspace(0, len(found) - 1, _VALUES_KEPT).astype(int)
        found, counts = found[kept], counts[kept]
    smooth = mask.palette is None and not mask.lossy and _is_smooth(mask.values, found, mask.bits)
    by_value = dict(zip(found.tolist(), counts.tolist(), strict=True))
    palette = {"palette": mask.colours, "grey_palette": mask.has_grey_palette, "odd_order": mask.odd_order}
    return MaskFacts(path, by_value, smooth=smooth, **palette, **facts)


def share_of_white(values: NDArray[np.integer]) -> NDArray[np.floating]:
    """Grey values of 8 bits, or 16 where one is above 255, as 0 to 255."""
    return values / 257 if values.max() > 255 else values.astype(np.float64)


def _is_smooth(values: NDArray[np.integer], found: NDArray[np.integer], bits: int) -> bool:
    """Whether values between black and white occur only along outlines, and many of them."""
    greys = share_of_white(found)
    if bits not in (8, 16) or greys[0] != 0 or greys[-1] < 255 - NEAR_AN_END or len(found) < _FEWEST_GREYS + 2:
        return False
    levels = share_of_white(values)
    white = levels > 127
    near = ndimage.binary_dilation(white, iterations=_OUTLINE_REACH)
    near &= ndimage.binary_dilation(~white, iterations=_OUTLINE_REACH)
    between = (levels > NEAR_AN_END) & (levels < 255 - NEAR_AN_END)
    quarters = {int(level) // 64 for level in greys[(greys > 0) & (greys < 255)]}
    return quarters == {0, 1, 2, 3} and bool((between & near).sum() >= _OUTLINE_SHARE * max(1, between.sum()))


def _unpacked(code: int) -> Colour:
    return code >> 16, code >> 8 & 255, code & 255
