"""Which image is for training, validation or test. Groups stay on one side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Entry", "assign_splits", "join_groups"]

_FEWEST_GROUPS = 3  # with fewer, everything is for training


@dataclass(frozen=True)
class Entry:
    """What a split needs to know about an image.

    Attributes:
        name: of the image.
        group: number of the group it belongs to.
        split: published split, or None; see `Record`.
        labelled: it has a mask.
    """

    name: str
    group: int
    split: str | None
    labelled: bool


def join_groups(*groupings: Sequence[object | None]) -> list[int]:
    """Group numbers such that images that share a group in any grouping are together. None is a group of its own."""
    count = len(groupings[0])
    parent = list(range(count))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for grouping in groupings:
        first: dict[object, int] = {}
        for place, group in enumerate(grouping):
            if group is not None:
                parent[root(place)] = root(first.setdefault(group, place))
    return [root(place) for place in range(count)]


def assign_splits(entries: Sequence[Entry], validation_share: float, test_share: float, seed: int) -> list[str]:
    """The split of each entry.

    Published splits stay. Where no test (validation) images are published, the share of the labelled images without a
    published test or validation is drawn by groups. A group with an unlabelled image is for training.

    Args:
        entries: the images.
        validation_share: share of the open labelled images, in [0, 1).
        test_share: likewise.
        seed: of the draw; the order of the entries does not matter.
    """
    splits = {entry.name: entry.split or "training" for entry in entries}
    published = {entry.split for entry in entries}
    open_entries = [entry for entry in entries if entry.split in (None, "training")]
    labelled = sum(entry.labelled for entry in open_entries)
    groups: dict[int, list[Entry]] = defaultdict(list)
    for entry in sorted(open_entries, key=lambda entry: entry.name):
        groups[entry.group].append(entry)
    drawable = [members for members in groups.values() if all(member.labelled for member in members)]
    if sum(any(member.labelled for member in members) for members in groups.values()) < _FEWEST_GROUPS:
        return [splits[entry.name] for entry in entries]

    order = np.random.default_rng([seed, 0]).permutation(len(drawable))
    waiting = [drawable[place] for place in order]
    for split, share in (("test", test_share), ("validation", validation_share)):
        if split in published or share == 0:
            continue
        fitting = [g for g in waiting if split == "validation" or all(member.split is None for member in g)]
        taken = _take(fitting, round(share * labelled))
        for members in taken:
            splits.update((member.name, split) for member in members)
        waiting = [members for members in waiting if not any(members is other for other in taken)]
    return [splits[entry.name] for entry in entries]


def _take(groups: list[list[Entry]], wanted: int) -> list[list[Entry]]:
    """Groups in order, leaving out those that would overshoot, until `wanted` images are met; at least one group."""
    taken, count = [], 0
    for members in groups:
        if count + len(members) <= wanted:
            taken.append(members)
            count += len(members)
    return taken or ([min(groups, key=len)] if groups else [])
