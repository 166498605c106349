"""The content of `datalist.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from custom.labels import IGNORED_LABEL
from custom.prepare.classes import ClassMap
from custom.prepare.records import Source
from custom.prepare.writing import Written

__all__ = ["datalist_content"]


def datalist_content(
    source: Source,
    description: str,
    seed: int,
    class_map: ClassMap,
    class_names: Sequence[str],
    written: Sequence[Written],
    splits: Sequence[str],
    subsets: Mapping[str, Sequence[str]],
    bit_depth: int | None = None,
) -> dict[str, Any]:
    """All that `load_datalist` reads, and what a reader wants to know: classes, seed, a SHA-256 of every file.

    "bit_depth" is there if the source has 16-bit images, and "ignore_value" if masks have undecided pixels.

    An entry tells beside its files the "group" (patient, slide) and the "set" of a collection, where there are such.
    """
    entries = {split: [] for split in ("training", "validation", "test")}
    for item, split in zip(written, splits, strict=True):
        entry = {"image": item.image, "label": item.label, "group": item.record.group, "set": item.record.set_name}
        entries[split].append({key: value for key, value in entry.items() if value is not None})
    fingerprints = dict(sorted(pair for item in written for pair in item.fingerprints.items()))
    facts = {
        "ignore_value": None if class_map.ignore_value is None else IGNORED_LABEL,
        "bit_depth": bit_depth,
    }
    return {
        "name": source.name,
        "description": description,
        "num_classes": class_map.num_classes,
        "class_names": list(class_names),
        "classes": dict(class_map.classes),
        **{key: value for key, value in facts.items() if value is not None},
        "seed": seed,
        **entries,
        "labelled_subsets": dict(subsets),
        "fingerprints": fingerprints,
    }
