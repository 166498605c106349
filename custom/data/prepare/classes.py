"""Decide which value of a mask is which class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from custom.data.prepare.mask_values import MaskSummary
from custom.errors import InputError

__all__ = ["ClassMap", "ColourClasses", "ListedValues", "TwoClasses", "find_classes", "read_mask_colours"]

MOST_CLASSES = 64
_NEAR_AN_END = 16  # a grey value this close to 0 or 255 is meant as 0 or 255
_ODD_SHARE_AT_MOST = {"stray": 0.001, "smooth": 0.05, "lossy": 0.10}

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class ClassMap:
    """From the values of masks to class indices.

    Attributes:
        classes: class index by value, as it is written down.
    """

    classes: Mapping[str, int]

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return max(self.classes.values()) + 1

    def indices(self, values: NDArray[np.integer], lossy: bool) -> tuple[NDArray[np.uint8], int]:
        """Class indices [H, W] and how many pixels held an odd value.

        Args:
            values: [H, W] values or [H, W, 3] colours.
            lossy: the values come from JPEG.

        Raises:
            InputError: a value without a class. It does not name the file.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class TwoClasses(ClassMap):
    """Background and foreground: 0 and 1, 0 and any other single value, or grey values parted at half."""

    classes: Mapping[str, int] = field(default_factory=lambda: {"0": 0, "255": 1})

    def indices(self, values: NDArray[np.integer], lossy: bool) -> tuple[NDArray[np.uint8], int]:
        """See `ClassMap.indices`."""
        if values.ndim == 3:
            raise InputError("the mask is in colour; save it with two grey values, or use the data set folder")
        found = np.unique(values)
        if found[0] == 0 and len(found) <= 2 and not lossy:
            return (values > 0).astype(np.uint8), 0
        if 1 < found[-1] <= 127 and not lossy:
            raise InputError(f"the mask holds {found[:5].tolist()}, expected two values; use the data set folder")
        if found[-1] > 255:
            values = values / 257
        odd = int(((values != 0) & (values != 255)).sum()) if found[-1] > 1 else 0
        return (values > (127 if found[-1] > 1 else 0)).astype(np.uint8), odd


@dataclass(frozen=True)
class ListedValues(ClassMap):
    """Each value is a class."""

    def indices(self, values: NDArray[np.integer], lossy: bool) -> tuple[NDArray[np.uint8], int]:
        """See `ClassMap.indices`."""
        if values.ndim == 3:
            raise InputError('the mask is in colour; give --mask-colours such as "0,0,0=0 255,0,0=1"')
        known = np.array(sorted(map(int, self.classes)))
        places = np.searchsorted(known, values).clip(max=len(known) - 1)
        if (known[places] != values).any():
            strange = np.setdiff1d(np.unique(values), known)[:5].tolist()
            raise InputError(f"the mask holds {strange}, the classes are {known.tolist()}; correct the mask")
        table = np.array([self.classes[str(value)] for value in known], dtype=np.uint8)
        return table[places], 0


@dataclass(frozen=True)
class ColourClasses(ClassMap):
    """Each colour is a class. In JPEG the nearest colour counts; pixels far from it count as odd."""

    colours: Mapping[Colour, int] = field(default_factory=dict)

    def indices(self, values: NDArray[np.integer], lossy: bool) -> tuple[NDArray[np.uint8], int]:
        """See `ClassMap.indices`."""
        if values.ndim == 2:
            values = np.repeat(values[..., None], 3, axis=2)
        nearest = np.zeros(values.shape[:2], np.uint8)
        distance = np.full(values.shape[:2], np.iinfo(np.int64).max)
        for colour, index in self.colours.items():
            to_colour = np.square(values.astype(np.int64) - colour).sum(2)
            closer = to_colour < distance
            nearest[closer], distance[closer] = index, to_colour[closer]
        strange = distance > 0
        if strange.any() and not lossy:
            colour = ",".join(map(str, values[strange][0].tolist()))
            raise InputError(f"the mask holds the colour {colour}, which --mask-colours lacks; add it")
        return nearest, int((distance > _NEAR_AN_END**2).sum())


def read_mask_colours(text: str) -> ColourClasses:
    """The classes that `--mask-colours` names: "R,G,B=INDEX" or "GREY=INDEX", parted by spaces.

    Raises:
        InputError: not so written, or indices which are not 0, 1, 2, ... without gaps.
    """
    colours: dict[Colour, int] = {}
    for entry in text.split():
        try:
            left, right = entry.split("=")
            parts, index = [int(part) for part in left.split(",")], int(right)
        except ValueError:
            parts, index = [], 0
        if len(parts) not in (1, 3) or not all(0 <= part <= 255 for part in parts):
            raise InputError(f'--mask-colours: {entry!r} is not "R,G,B=INDEX" or "GREY=INDEX", such as "255,0,0=1"')
        colour = tuple(parts) if len(parts) == 3 else (parts[0],) * 3
        if colours.setdefault(colour, index) != index:
            raise InputError(f"--mask-colours: {left} has two indices; give it one")
    if sorted(set(colours.values())) != list(range(max(2, len(set(colours.values()))))):
        raise InputError(
            f"--mask-colours: the indices are {sorted(set(colours.values()))}; use 0, 1, 2, ... without gaps"
        )
    return ColourClasses({",".join(map(str, colour)): index for colour, index in colours.items()}, colours)


def find_classes(summary: MaskSummary) -> ClassMap:
    """Find the classes in masks whose meaning is not known beforehand.

    Two values are two classes. 0 and 255 with few grey values between, as from JPEG or smooth outlines, are two
    classes parted at half. Otherwise each value is a class, in their order.

    Raises:
        InputError: colours; one value only; or values which cannot be classes.
    """
    if summary.colour_mask is not None:
        shown = " ".join(f"{red},{green},{blue}=?" for red, green, blue in list(summary.colours)[:4])
        raise InputError(f'{summary.colour_mask}: the mask is in colour; say what it means: --mask-colours "{shown}"')
    values = sorted(summary.counts)
    if len(values) < 2:
        raise InputError(f"all masks hold only the value {values[0]}: there is nothing to segment; check the masks")
    if _is_two_greys(summary):
        return TwoClasses()
    if summary.lossy and len(values) > 2:
        raise InputError(
            f"the masks are JPEG with {len(values)} grey values, which blurs classes; save them as PNG, or give "
            '--mask-colours "0=0 128=1 255=2" with your values'
        )
    if len(values) > MOST_CLASSES:
        raise InputError(
            f"the masks hold {len(values)} values from {values[0]} to {values[-1]}, too many for classes (at most "
            f"{MOST_CLASSES}); save one value a class, or give --mask-colours"
        )
    return ListedValues({str(value): index for index, value in enumerate(values)})


def _is_two_greys(summary: MaskSummary) -> bool:
    """Whether the values mean 0 and 255 although others occur."""
    counts = summary.counts
    if summary.palette or len(counts) < 3 or 0 not in counts or not 255 - _NEAR_AN_END <= max(counts) <= 255:
        return False
    odd = {value: count for value, count in counts.items() if value not in (0, 255)}
    total = counts.total()
    if summary.lossy:
        between = sum(count for value, count in odd.items() if _NEAR_AN_END < value < 255 - _NEAR_AN_END)
        return between <= _ODD_SHARE_AT_MOST["lossy"] * total
    share = sum(odd.values()) / total
    near_the_ends = all(min(value, 255 - value) <= _NEAR_AN_END for value in odd)
    everywhere = {value // 64 for value in odd} == {0, 1, 2, 3}  # smooth outlines pass through all greys
    return (near_the_ends and share <= _ODD_SHARE_AT_MOST["stray"]) or (
        everywhere and share <= _ODD_SHARE_AT_MOST["smooth"]
    )
