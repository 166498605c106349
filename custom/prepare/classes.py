"""From the values of masks to class indices."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.pixels.mask_facts import NEAR_AN_END, share_of_white
from custom.pixels.masks import Mask, plain_values
from custom.pixels.palettes import BLACK, Colour

__all__ = ["ClassMap", "ColourClasses", "ListedValues", "TwoClasses", "read_mask_colours", "two_colours_with_black"]


@dataclass(frozen=True)
class ClassMap:
    """From the values of masks to class indices.

    Attributes:
        classes: class index by value, as it is written down.
        ignore_value: value of undecided pixels, which become `IGNORED_LABEL`; None if there is no such value.
    """

    classes: Mapping[str, int]
    ignore_value: int | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return max(self.classes.values()) + 1

    def indices(self, mask: Mask) -> tuple[NDArray[np.uint8], int]:
        """Class indices [H, W] of a mask and how many pixels held an odd value.

        Raises:
            InputError: a value without a class. It does not name the file.
        """
        if self.ignore_value is None:
            return self._indices(mask)
        if mask.values.ndim == 3:
            raise InputError("the mask is in colour, --ignore-value is a grey value or a palette index; leave it out")
        ignored = (mask.palette[mask.values, 0] if mask.has_grey_palette else mask.values) == self.ignore_value
        if ignored.all():
            return np.full(mask.values.shape, IGNORED_LABEL, np.uint8), 0
        decided = int(mask.values[~ignored][0])  # stands in for undecided values, which must not be looked up
        filled = Mask(np.where(ignored, decided, mask.values), mask.palette, mask.bits, mask.lossy, mask.pages)
        indices, odd = self._indices(filled)
        return np.where(ignored, IGNORED_LABEL, indices).astype(np.uint8), odd

    def _indices(self, mask: Mask) -> tuple[NDArray[np.uint8], int]:
        raise NotImplementedError


@dataclass(frozen=True)
class TwoClasses(ClassMap):
    """Background and foreground: 0 and 1, 0 and any other single value, or grey values divided at half.

    Each file is read by itself.

    Attributes:
        by_colour: of a palette, black is background and all else foreground; None where each palette decides.
    """

    classes: Mapping[str, int] = field(default_factory=lambda: {"0": 0, "255": 1})
    ignore_value: int | None = None
    by_colour: bool | None = None

    def _indices(self, mask: Mask) -> tuple[NDArray[np.uint8], int]:
        if mask.values.ndim == 3:
            raise InputError("the mask is in colour; save it with two grey values, or use the data set folder")
        if self._is_by_colour(mask):
            return (mask.palette[mask.values] != BLACK).any(2).astype(np.uint8), 0
        values = plain_values(mask)
        found = np.unique(values)
        if found[0] == 0 and len(found) <= 2 and not mask.lossy:
            return (values > 0).astype(np.uint8), 0
        if 1 < found[-1] <= 127 and not mask.lossy:
            raise InputError(f"the mask holds {found[:5].tolist()}, expected two values; use the data set folder")
        if found[-1] <= 1:
            return values.astype(np.uint8), 0
        greys = share_of_white(values)
        return (greys > 127).astype(np.uint8), int(((greys != 0) & (greys != 255)).sum())

    def _is_by_colour(self, mask: Mask) -> bool:
        if mask.palette is None:
            return False
        return two_colours_with_black(set(mask.colours.values())) if self.by_colour is None else self.by_colour


@dataclass(frozen=True)
class ListedValues(ClassMap):
    """Each value is a class."""

    def _indices(self, mask: Mask) -> tuple[NDArray[np.uint8], int]:
        if mask.values.ndim == 3:
            raise InputError('the mask is in colour; give --mask-colours such as "0,0,0=0 255,0,0=1"')
        values = plain_values(mask)
        known = np.array(sorted(map(int, self.classes)))
        places = np.searchsorted(known, values).clip(max=len(known) - 1)
        if (known[places] != values).any():
            strange = np.setdiff1d(np.unique(values), known)[:5].tolist()
            raise InputError(f"the mask holds {strange}, the classes are {known.tolist()}; correct the mask")
        table = np.array([self.classes[str(value)] for value in known], dtype=np.uint8)
        return table[places], 0


@dataclass(frozen=True)
class ColourClasses(ClassMap):
    """Each colour is a class. In JPEG the nearest colour counts; pixels far from it count as odd.

    A palette is read by its colours or, where they are not listed, by indices that are listed as greys.
    """

    colours: Mapping[Colour, int] = field(default_factory=dict)

    def _indices(self, mask: Mask) -> tuple[NDArray[np.uint8], int]:
        values = mask.values
        if mask.palette is not None and not self._means_indices(mask.colours):
            values = mask.palette[values]
        if values.ndim == 2:
            values = np.repeat(values[..., None], 3, axis=2)
        nearest = np.zeros(values.shape[:2], np.uint8)
        distance = np.full(values.shape[:2], np.iinfo(np.int64).max)
        for colour, index in self.colours.items():
            to_colour = np.square(values.astype(np.int64) - colour).sum(2)
            closer = to_colour < distance
            nearest[closer], distance[closer] = index, to_colour[closer]
        strange = distance > 0
        if strange.any() and not mask.lossy:
            colour = ",".join(map(str, values[strange][0].tolist()))
            raise InputError(f"the mask holds the colour {colour}, which --mask-colours lacks; add it")
        return nearest, int((distance > NEAR_AN_END**2).sum())

    def _means_indices(self, colours: Mapping[int, Colour]) -> bool:
        listed = set(self.colours)
        return not listed.issuperset(colours.values()) and listed.issuperset((index,) * 3 for index in colours)


def two_colours_with_black(colours: Set[Colour]) -> bool:
    """Whether these are black and another colour, which is not grey."""
    others = colours - {BLACK}
    return BLACK in colours and len(others) == 1 and len(set(*others)) > 1


def read_mask_colours(text: str, ignore_value: int | None = None) -> ColourClasses:
    """The classes that `--mask-colours` names: "R,G,B=INDEX" or "GREY=INDEX", separated by spaces.

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
        most = 255 if len(parts) == 3 else 65535
        if len(parts) not in (1, 3) or not all(0 <= part <= most for part in parts):
            raise InputError(f'--mask-colours: {entry!r} is not "R,G,B=INDEX" or "GREY=INDEX", such as "255,0,0=1"')
        colour = tuple(parts) if len(parts) == 3 else (parts[0],) * 3
        if colours.setdefault(colour, index) != index:
            raise InputError(f"--mask-colours: {left} has two indices; give it one")
    if sorted(set(colours.values())) != list(range(max(2, len(set(colours.values()))))):
        raise InputError(
            f"--mask-colours: the indices are {sorted(set(colours.values()))}; use 0, 1, 2, ... without gaps"
        )
    names = {",".join(map(str, colour)): index for colour, index in colours.items()}
    return ColourClasses(names, ignore_value, colours)
