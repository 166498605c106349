"""The next step after `prepare`: the command that trains on the folder, and a warning if it holds few images."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

__all__ = ["training_command", "warn_of_few"]

FEW_IMAGES = 20
"""With fewer images a mean score moves by several points from one drawn split to the next."""

_BUNDLES = {
    "busi": "semigda_busi",
    "kvasir": "semigda_polyp",
    "clinicdb": "semigda_polyp",
    "cvc300": "semigda_polyp",
    "colondb": "semigda_polyp",
    "etis": "semigda_polyp",
    "polyp": "semigda_polyp",
    "isic2018": "semigda_isic",
    "bcss": "semigda_bcss",
}
_ANY_DATA = "semigda_busi"


def training_command(dataset: str, folder: Path) -> str:
    """The command which trains on the prepared folder, with the configuration of that data set's bundle.

    Args:
        dataset: name of the data set, of `SOURCES`.
        folder: the prepared folder.
    """
    bundle = _BUNDLES.get(dataset, _ANY_DATA)
    settings = "" if dataset in _BUNDLES else " --labelled all"
    return (
        f"python -m monai.bundle run training --config_file bundles/{bundle}/configs/train.yaml "
        f"--dataset_dir {shlex.quote(str(folder))}{settings}"
    )


def warn_of_few(counts: Mapping[str, int]) -> list[str]:
    """A warning if the choice of weights or the test rests on few images.

    Args:
        counts: images by split.
    """
    uses = {"validation": "the choice of weights", "test": "the test"}
    few = [f"{use} on {counts[split]}" for split, use in uses.items() if 0 < counts[split] < FEW_IMAGES]
    if not few:
        return []
    return [
        f"Few images: {' and '.join(few)}; such scores change much with the drawn split. Add masks, or compare "
        "several --seed."
    ]
