"""Share of each class in the masks, logged before training."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from custom.data.facts import classes_by_number

__all__ = ["describe_shares", "log_classes", "odd_masks"]

logger = logging.getLogger(__name__)


def describe_shares(pixels: Sequence[NDArray[np.integer]], names: Sequence[str]) -> str:
    """The mean share of each class over masks, in words.

    Args:
        pixels: pixels of each class, for each mask. Undecided pixels do not count.
        names: names of the classes.
    """
    shares = np.mean([mask / max(1, mask.sum()) for mask in pixels], axis=0)
    return ", ".join(f"{name} {share:.2%}" for name, share in zip(names, shares, strict=True))


def odd_masks(pixels: Sequence[NDArray[np.integer]]) -> dict[str, list[int]]:
    """Places of the masks "without foreground" and of those with "foreground everywhere"."""
    return {
        "without foreground": [place for place, mask in enumerate(pixels) if not mask[1:].any()],
        "with foreground everywhere": [place for place, mask in enumerate(pixels) if not mask[0] and mask[1:].any()],
    }


def log_classes(split: str, pixels: Sequence[NDArray[np.integer]], warn: bool) -> None:
    """Log the classes of the masks of a split, and masks that hold nothing else than one of background and foreground.

    Args:
        split: its name.
        pixels: pixels of each class, for each mask; nothing is logged without masks.
        warn: whether to warn of a class that no mask holds: it cannot be learnt.
    """
    if not pixels:
        return
    names = classes_by_number(len(pixels[0]))
    odd = "".join(f"; {len(places)} {kind}" for kind, places in odd_masks(pixels).items() if places)
    logger.info("%s: %d masks: %s of the pixels%s", split, len(pixels), describe_shares(pixels, names), odd)
    if not warn:
        return
    absent = [name for name, count in zip(names, np.sum(pixels, axis=0), strict=True) if count == 0]
    if absent == names[1:]:
        logger.warning(
            "none of the %d labelled masks holds any foreground (%s): nothing can be learnt from them; label "
            "images that show it",
            len(pixels),
            ", ".join(absent),
        )
    elif absent:
        logger.warning("no labelled mask holds %s: it cannot be learnt; label images that show it", ", ".join(absent))
