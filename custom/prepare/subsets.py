"""Nested labelled subsets: every smaller one lies within every larger one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from custom.errors import InputError
from custom.prepare.records import Release

__all__ = ["PERCENTAGES", "labelled_subsets", "labelling_order", "read_labelled_count"]

PERCENTAGES = (1, 5, 10, 20, 30, 50, 100)


def labelling_order(images: Sequence[tuple[str, str | None]], seed: int, first_groups: Sequence[str] = ()) -> list[str]:
    """The order in which training images get their labels, drawn by the seed; images of a group follow each other.

    Args:
        images: (path, group or None) of the training images with a label.
        seed: of the draw.
        first_groups: published groups which come first, in their order.
    """
    members: dict[tuple[int, str], list[str]] = {}
    for path, group in sorted(images, key=lambda image: image[0]):
        members.setdefault((0, path) if group is None else (1, group), []).append(path)
    groups = sorted(members)
    drawn = [groups[place] for place in np.random.default_rng([seed, 1]).permutation(len(groups))]
    published = [(1, group) for group in first_groups if (1, group) in members]
    ordered = dict.fromkeys([*published, *drawn])
    return [path for group in ordered for path in members[group]]


def labelled_subsets(
    order: Sequence[str],
    training_size: int,
    wanted: Sequence[str] = (),
    release: Release | None = None,
    named: Mapping[str, int] | None = None,
) -> dict[str, list[str]]:
    """Subsets by name, as `load_datalist` reads them.

    Percentages are of the training images with a label, rounded up. Where the training set, with or without the images
    held out for validation, has the size of the release's, the release's counts take the place of the percentages;
    else they are listed by their counts.

    Args:
        order: see `labelling_order`.
        training_size: training images with a label, those held out for validation included.
        wanted: further subsets, such as "20" or "15%".
        release: the release's counts.
        named: further subsets by name and size.

    Raises:
        InputError: `wanted` is no count or percentage, or more than there is.
    """
    sizes = {f"{percentage}%": math.ceil(Fraction(percentage, 100) * len(order)) for percentage in PERCENTAGES}
    if release is not None and release.training in (len(order), training_size):
        sizes |= release.counts
    elif release is not None:
        sizes |= {str(count): count for count in release.counts.values() if count <= len(order)}
    sizes |= named or {}
    for name in wanted:
        sizes[name] = _wanted_size(name, len(order))
    sizes = {name: min(size, len(order)) for name, size in sizes.items()}
    return {name: list(order[:size]) for name, size in sorted(sizes.items(), key=lambda item: item[1])}


def read_labelled_count(name: str) -> int | Fraction:
    """A count, such as "20", as a whole number; a percentage, such as "15%", as a share in (0, 1].

    Raises:
        InputError: it is neither.
    """
    match = re.fullmatch(r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,9})?)%", name)
    size = 0 if match is None else int(match[1]) if match[1] else Fraction(match[2]) / 100
    if size <= 0 or (isinstance(size, Fraction) and size > 1):
        raise InputError(f'--labelled-counts: {name!r} is no count or percentage; write 20 or "15%"')
    return size


def _wanted_size(name: str, available: int) -> int:
    wanted = read_labelled_count(name)
    size = wanted if isinstance(wanted, int) else math.ceil(wanted * available)
    if not 1 <= size <= available:
        raise InputError(
            f"--labelled-counts: {name} is {size} images; give at most the {available} labelled training images"
        )
    return size
