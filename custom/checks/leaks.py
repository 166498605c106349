"""Errors that change scores although every file is read: copies and patients across the split, masks of two images."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from custom.data.datalist import Splits
from custom.files import file_digest

__all__ = ["copies", "shared_groups", "shared_images", "shared_masks"]


def shared_images(splits: Splits) -> Iterator[str]:
    """A line for each image, links followed, which is in more than one of training, validation and test."""
    first_use: dict[str, str] = {}
    for purpose, item in _purposes(splits):
        image = item["image"]
        other = first_use.setdefault(os.path.realpath(image), purpose)
        if other != purpose:
            yield f"{image} is in {other} and in {purpose}; keep it in one of them"


def copies(splits: Splits) -> Iterator[str]:
    """A line for each image which is, byte for byte, one of another of training, validation and test.

    Raises:
        InputError: an image cannot be read.
    """
    purposes = [(purpose, item["image"]) for purpose, item in _purposes(splits)]
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(file_digest, [path for _, path in purposes]))
    first_use: dict[str, tuple[str, str]] = {}
    for (purpose, image), digest in zip(purposes, digests, strict=True):
        other_purpose, other = first_use.setdefault(digest, (purpose, image))
        if other_purpose != purpose:
            yield (
                f"{image} in {purpose} is byte for byte the same image as {other} in {other_purpose}; remove one of "
                "them from the datalist"
            )


def shared_masks(splits: Splits) -> Iterator[str]:
    """A line for each mask, links followed, which is that of two images: at most one can be right."""
    image_of: dict[str, str] = {}
    items = (item for split in splits if split != "unlabelled" for item in splits[split] if "label" in item)
    for item in items:
        other = image_of.setdefault(os.path.realpath(item["label"]), item["image"])
        if os.path.realpath(other) != os.path.realpath(item["image"]):
            yield (
                f"{item['label']} is the mask of {other} and of {item['image']}; correct one, or give each its own file"
            )


def shared_groups(splits: Splits) -> Iterator[str]:
    """A line for each patient or slide, the "group" of an image, in more than one of training, validation and test."""
    first_use: dict[str, tuple[str, str]] = {}
    for purpose, item in _purposes(splits):
        if (group := item.get("group")) is None:
            continue
        other_purpose, other = first_use.setdefault(group, (purpose, item["image"]))
        if other_purpose != purpose:
            yield (
                f"{item['image']} in {purpose} and {other} in {other_purpose} are of one patient or slide "
                f"(group {group}); keep all its images in one of them"
            )


def _purposes(splits: Splits) -> Iterator[tuple[str, Mapping[str, str]]]:
    """What each image is for, training, validation or test, and its item."""
    for split in splits:
        purpose = "training" if split in ("labelled", "unlabelled") else split
        yield from ((purpose, item) for item in splits[split])
