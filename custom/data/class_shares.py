"""How much of the labelled masks each class takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from custom.labels import IGNORED_LABEL
from custom.pixels import read_class_indices

__all__ = ["class_shares"]


def class_shares(items: Sequence[Mapping[str, str]], num_classes: int, ignore_value: int | None = None) -> list[float]:
    """The mean over masks of the share of each class in the decided pixels, K numbers.

    A mask without a decided pixel counts with 0 everywhere.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> from custom.data import class_shares
    >>> with TemporaryDirectory() as folder:
    ...     Image.frombytes("L", (4, 1), bytes([0, 0, 0, 255])).save(f"{folder}/mask.png")
    ...     class_shares([{"label": f"{folder}/mask.png"}], num_classes=2)
    [0.75, 0.25]

    Args:
        items: data items; those with a "label" count.
        num_classes: K, with the background.
        ignore_value: value of undecided pixels; None if there is no such value.

    Raises:
        InputError: a mask cannot be read, or holds values that are no classes. It names the file.
    """
    measure = partial(_shares, num_classes=num_classes, ignore_value=ignore_value)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(measure, [item["label"] for item in items if "label" in item]))
    return np.mean(found, axis=0).tolist() if found else [0.0] * num_classes


def _shares(mask: str, num_classes: int, ignore_value: int | None) -> np.ndarray:
    indices = np.asarray(read_class_indices(mask, num_classes, ignore_value))
    counts = np.bincount(indices[indices != IGNORED_LABEL], minlength=num_classes)
    return counts / max(1, counts.sum())
