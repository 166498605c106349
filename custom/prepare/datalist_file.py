"""The content of `datalist.json`: facts about the data set, and which image is for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom.data.facts import DataFacts, classes_by_number, has_one_component_each
from custom.labels import IGNORED_LABEL
from custom.prepare.classes import ClassMap
from custom.prepare.records import Source
from custom.prepare.writing import Written
from custom.volumes.window import AUTO, Window

__all__ = ["datalist_content", "find_facts"]


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

    An entry has, beside its files, the "group" (patient, slide), the "set" of a collection and the "volume" that it is
    a slice of, where there are such.

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
        record = item.record
        entry = {"image": item.image, "label": item.label, "group": record.group, "set": record.set_name}
        entry["volume"] = record.volume
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


def find_facts(
    source: Source,
    given: Path,
    class_map: ClassMap,
    bit_depth: int | None,
    training_masks: Sequence[str],
    one_component: bool | None = None,
    window: Window = AUTO,
    fixed_scale: bool = False,
    microns_per_pixel: float | None = None,
) -> DataFacts:
    """What is known of the source; else what the user states; else what the prepared training masks show.

    Args:
        source: the data set.
        given: the first source as the user named it; its name is that of a data set without one.
        class_map: meaning of the masks.
        bit_depth: bits of the 16-bit images; None if there are none.
        training_masks: prepared mask files of training images.
        one_component: whether each class is one connected piece per image, if the user states it.
        window: which values of volumes became black and white.
        fixed_scale: whether the user states that pixels of all images have one physical size.
        microns_per_pixel: that size, if the user states it.
    """
    ignore_value = None if class_map.ignore_value is None else IGNORED_LABEL
    stated = (value for value in (source.one_connected_component, one_component) if value is not None)
    one_component = next(stated, None)
    if one_component is None:
        one_component = has_one_component_each(training_masks, class_map.num_classes, ignore_value)
    return DataFacts(
        name=source.short_name or (given.name if given.is_dir() else given.stem),
        class_names=tuple(source.class_names or classes_by_number(class_map.num_classes)),
        ignore_value=ignore_value,
        stated_bit_depth=bit_depth,
        stated_one_connected_component=one_component,
        fixed_scale=source.fixed_scale or fixed_scale or microns_per_pixel is not None,
        microns_per_pixel=microns_per_pixel,
        window=window,
    )
