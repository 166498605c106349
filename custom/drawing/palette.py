"""Colours of what pictures show."""

from __future__ import annotations

__all__ = ["CLASS_COLOURS", "DIFFERENCE_COLOUR", "IGNORED_COLOUR", "TRUTH_COLOUR", "Colour", "class_colour"]

Colour = tuple[int, int, int]
"""Red, green and blue, each from 0 to 255."""

TRUTH_COLOUR: Colour = (64, 224, 255)
"""Outline of the truth where there is one foreground class."""

DIFFERENCE_COLOUR: Colour = (255, 64, 160)
"""Where two labels differ, and frames of pictures to look at."""

IGNORED_COLOUR: Colour = (128, 128, 128)

CLASS_COLOURS: tuple[Colour, ...] = (
    (255, 196, 0),
    (86, 180, 233),
    (0, 190, 140),
    (240, 110, 30),
    (204, 121, 167),
    (240, 228, 66),
)
"""One colour per foreground class, which colour-blind readers can distinguish (after Okabe and Ito, 2008)."""


def class_colour(index: int) -> Colour:
    """The colour of a foreground class, from 1 on; further classes take the colours again from the first."""
    return CLASS_COLOURS[(index - 1) % len(CLASS_COLOURS)]
