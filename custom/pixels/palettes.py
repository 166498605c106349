"""Masks with a palette: which colour stands for which index, and whether files agree on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from custom.pixels.naming import shown_path

__all__ = ["BLACK", "Colour", "colours_of", "find_odd_order", "is_grey", "palette_conflict"]

Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)


def colours_of(indices: NDArray[np.integer], palette: NDArray[np.uint8]) -> dict[int, Colour]:
    """The colour of each index that occurs."""
    return {int(index): tuple(palette[index].tolist()) for index in np.unique(indices)}


def is_grey(palette: NDArray[np.uint8]) -> bool:
    """Whether all colours [N, 3] of a palette are grey, those that do not occur too."""
    return bool((palette == palette[:, :1]).all())


def find_odd_order(indices: NDArray[np.integer], palette: NDArray[np.uint8]) -> str | None:
    """Why indices and colours may be meant differently, in words; None where they agree.

    They agree if grey becomes brighter with the index, and if black, which stands for background, is the lowest index
    that occurs. A palette of greys is looked at as a whole, for a file may hold one index alone.
    """
    colours = colours_of(indices, palette)
    if is_grey(palette):
        palette = _without_filling(palette, max(colours))
        colours = {index: tuple(colour) for index, colour in enumerate(palette.tolist())}
    if all(len(set(colour)) == 1 for colour in colours.values()):
        order = sorted(colours)
        for lower, higher in zip(order, order[1:], strict=False):
            if colours[higher][0] <= colours[lower][0]:
                greys = f"grey {colours[lower][0]} and index {higher} as grey {colours[higher][0]}"
                return f"index {lower} is shown as {greys}"
        return None
    lowest = min(colours)
    black = next((index for index, colour in colours.items() if colour == BLACK and index != lowest), None)
    if black is None or colours[lowest] == BLACK:
        return None
    return f"index {lowest} is shown as {_words(colours[lowest])} and index {black} as black"


def _without_filling(palette: NDArray[np.uint8], last_index: int) -> NDArray[np.uint8]:
    """A palette without the black that fills it up to a power of two, if its first colour is black as well."""
    if palette[0].any():
        return palette
    length = len(palette)
    while length - 1 > last_index and not palette[length - 1].any():
        length -= 1
    return palette[:length]


def palette_conflict(files: Iterable[tuple[str | PathLike[str], Mapping[int, Colour]]]) -> str | None:
    """A line that names two files in which one index has two colours; None if there are no such files.

    Args:
        files: masks with a palette and the colours of the indices that occur in them.
    """
    first: dict[int, tuple[str | PathLike[str], Colour]] = {}
    for path, colours in files:
        for index, colour in colours.items():
            other, other_colour = first.setdefault(index, (path, colour))
            if other_colour != colour:
                return (
                    f"{shown_path(other)} and {shown_path(path)} have palettes that disagree: index {index} is "
                    f"{_words(other_colour)} in the one and {_words(colour)} in the other; save all masks with one "
                    "palette, or as grey class indices"
                )
    return None


def _words(colour: Colour) -> str:
    return "black" if colour == BLACK else ",".join(map(str, colour))
