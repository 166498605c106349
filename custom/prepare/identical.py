"""Byte-identical images: none may lie on two sides of the split, or the model is scored on what it was trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from custom.prepare.writing import Written

__all__ = ["drop_copies", "image_digests"]

_HELD_OUT = ("test", "validation")  # what stays, in this order


def image_digests(written: Sequence[Written]) -> list[str]:
    """What byte-identical images have in common, for each image."""
    return [item.fingerprints[item.image] for item in written]


def drop_copies(folder: Path, written: Sequence[Written]) -> tuple[list[Written], list[str]]:
    """Remove images which are copies of a published test or validation image from the other parts of the split.

    Of test and validation the test image stays.

    Returns:
        The images that stay; a warning, if there were any others.
    """
    members: dict[str, list[Written]] = defaultdict(list)
    for digest, item in zip(image_digests(written), written, strict=True):
        members[digest].append(item)
    dropped: dict[str, str] = {}
    for items in members.values():
        splits = {item.record.split for item in items}
        kept = next((split for split in _HELD_OUT if split in splits), None)
        original = next((item.record.name for item in items if item.record.split == kept), "")
        dropped |= {item.image: original for item in items if kept is not None and item.record.split != kept}
    for item in (item for item in written if item.image in dropped):
        for path in item.fingerprints:
            (folder / path).unlink()
    if not dropped:
        return list(written), []
    copy, original = next(iter(dropped.items()))
    warning = (
        f"{len(dropped)} images were left out: each is byte for byte a published test or validation image ({copy} is "
        f"{original})."
    )
    return [item for item in written if item.image not in dropped], [warning]
