"""A pair of near-duplicate images, as the search finds it and as tables and pictures show it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["NearDuplicate"]


class NearDuplicate(NamedTuple):
    """Two images of the same scene."""

    first: int
    second: int
    """Positions in the sequence of paths; first < second."""
    kind: str
    """"exact file", "same pixels", "same" (brightness, size, format, text or a slight movement may differ), "flipped"
    (mirrored, and perhaps turned), "turned" (by quarters), "cropped" (the frames differ), or "flipped, cropped" or
    "turned, cropped"."""
    distance: float
    """0 for equal pixels; else 1 less the local correlation, which is at most 0.55."""
