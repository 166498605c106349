"""How bright the 16-bit images of a data set can be: one scale for all of them, which the model keeps."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from custom.data.datalist import read_bit_depth
from custom.errors import InputError
from custom.pixels import bits_used
from custom.pixels.images import MOST_BIT_DEPTH

__all__ = ["find_bit_depth", "model_bit_depth"]

logger = logging.getLogger(__name__)

_SPLITS = ("labelled", "unlabelled", "validation")


def find_bit_depth(
    splits: Mapping[str, Sequence[Mapping[str, str]]],
    datalist: str | os.PathLike | None = None,
    known: int | None = None,
) -> int | None:
    """Bits that the 16-bit images of a data set use.

    Scanners store 10 or 12 bits in 16-bit files; the largest value of a single image says little, that of all says it.

    Args:
        splits: items by split, as `load_datalist` returns them. Images for training and validation count.
        datalist: the datalist; its "bit_depth" is taken if it states one. None: there is no datalist.
        known: the depth that a model was trained with, which is taken where the datalist states none.

    Returns:
        8 to 16; None if there is no 16-bit image.

    Raises:
        InputError: the datalist states something else. Images that cannot be read are left to `check_dataset`.
    """
    stated = None if datalist is None else read_bit_depth(datalist)
    if stated is not None or known is not None:
        return known if stated is None else stated
    with ThreadPoolExecutor() as pool:
        found = pool.map(_bits_or_none, [item["image"] for split in _SPLITS for item in splits.get(split, ())])
        return max(filter(None, found), default=None)


def model_bit_depth(details: Mapping[str, Any], datalist: str | os.PathLike) -> int | None:
    """The depth that a model was trained with; it is logged if the data to evaluate it on state another.

    Args:
        details: the model's details; models from before there was a depth took 16 bits.
        datalist: the datalist of the data.

    Raises:
        InputError: see `read_bit_depth`.
    """
    depth, stated = details.get("bit_depth", MOST_BIT_DEPTH), read_bit_depth(datalist)
    if stated is not None and stated != depth:
        logger.warning(
            "%s states a bit_depth of %s, the model was trained with %s: its images may be brighter or darker than "
            "those that the model has seen",
            datalist,
            stated,
            depth,
        )
    return depth


def _bits_or_none(path: str) -> int | None:
    try:
        return bits_used(path)
    except InputError:
        return None
