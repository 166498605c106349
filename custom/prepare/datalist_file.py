"""The content of `datalist.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from custom.data import DataFacts
from custom.prepare.writing import Written

__all__ = ["datalist_content"]


def datalist_content(
    description: str,
    seed: int,
    facts: DataFacts,
    classes: Mapping[str, int],
    written: Sequence[Written],
    splits: Sequence[str],
    subsets: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """All that `load_datalist` and `read_facts` read, with the seed and a SHA-256 of every file.

    An entry has, beside its files, the "group" (patient, slide) and the "set" of a collection, where there are such.

    Args:
        description: the data set in a few sentences.
        seed: of splits and subsets.
        facts: the facts about the data set.
        classes: class index by value in the source's masks.
        written: the prepared images.
        splits: split of each.
        subsets: labelled subsets.
    """
    entries = {split: [] for split in ("training", "validation", "test")}
    for item, split in zip(written, splits, strict=True):
        entry = {"image": item.image, "label": item.label, "group": item.record.group, "set": item.record.set_name}
        entries[split].append({key: value for key, value in entry.items() if value is not None})
    fingerprints = dict(sorted(pair for item in written for pair in item.fingerprints.items()))
    return {
        **facts.for_datalist(),
        "description": description,
        "classes": dict(classes),
        "seed": seed,
        **entries,
        "labelled_subsets": dict(subsets),
        "fingerprints": fingerprints,
    }
