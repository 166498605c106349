"""How bright the 16-bit images of a data set can be: one scale for all of them, which the model keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from custom.data.datalist import read_bit_depth
from custom.errors import InputError
from custom.pixels import bits_used

__all__ = ["find_bit_depth"]

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


def _bits_or_none(path: str) -> int | None:
    try:
        return bits_used(path)
    except InputError:
        return None
