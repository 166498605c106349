"""Write images as they were and masks as class indices."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custom.errors import InputError
from custom.files import file_digest
from custom.labels import IGNORED_LABEL
from custom.pixels.images import read_stored_image, to_8_bits
from custom.pixels.masks import join
from custom.pixels.naming import naming
from custom.pixels.page import turn
from custom.prepare.classes import ClassMap
from custom.prepare.inspection import ImageFacts, over_all
from custom.prepare.records import Record
from custom.prepare.upright import upright_mask

__all__ = ["Written", "WritingPlan", "write_records"]

_JPEG_QUALITY = 95


@dataclass(frozen=True)
class WritingPlan:
    """How files are written.

    Attributes:
        folder: where "images" and "masks" go.
        class_map: meaning of the masks' values.
        max_side: see `PrepareOptions`.
        bits: bits of a value which the 16-bit images of the set really use.
    """

    folder: Path
    class_map: ClassMap
    max_side: int | None
    bits: int


@dataclass(frozen=True)
class Written:
    """A prepared image.

    Attributes:
        record: where it comes from.
        image: its path, relative to the prepared folder.
        label: that of its mask, if it has one.
        size: (width, height) as written, upright.
        class_pixels: pixels of each class, without undecided ones; None without a mask.
        odd_pixels: pixels of the mask with an odd value.
        converted: the image is not the very file it was.
        fingerprints: SHA-256 of the files by path.
    """

    record: Record
    image: str
    label: str | None
    size: tuple[int, int]
    class_pixels: NDArray[np.int64] | None
    odd_pixels: int
    converted: bool
    fingerprints: dict[str, str]


def write_records(sound: Sequence[tuple[Record, ImageFacts]], plan: WritingPlan, show_progress: bool) -> list[Written]:
    """Write all images and masks.

    Raises:
        InputError: two images would have one name, or a mask holds a value without a class.
    """
    _require_usable_names([record for record, _ in sound])
    return over_all(partial(_write, plan=plan), sound, "writing", show_progress)


def _require_usable_names(records: Sequence[Record]) -> None:
    seen: dict[str, Path] = {}
    for record in records:
        if not record.name.isprintable():
            raise InputError(f"{str(record.image)!r} has characters in its name that cannot be written; rename it")
        other = seen.setdefault(record.name.casefold(), record.image)
        if other is not record.image:
            raise InputError(f"{record.image} and {other} would both be called {record.name}; rename one of them")


def _write(item: tuple[Record, ImageFacts], plan: WritingPlan) -> Written:
    record, facts = item
    scale = 1.0 if plan.max_side is None else min(1.0, plan.max_side / max(facts.size))
    size = tuple(max(1, round(side * scale)) for side in facts.size)
    converted = scale < 1 or facts.levels is not None or not facts.has_known_suffix
    image = f"images/{record.name}{_suffix(facts) if converted else record.image.suffix.strip()}"
    target = plan.folder / image
    target.parent.mkdir(parents=True, exist_ok=True)
    if converted:
        _convert_image(record, size, plan.bits, target)
    else:
        shutil.copyfile(record.image, target)
    label, class_pixels, odd_pixels = None, None, 0
    if record.masks:
        label = f"masks/{record.name}.png"
        class_pixels, odd_pixels = _write_mask(record, facts, size, plan, plan.folder / label)
    fingerprints = {path: file_digest(plan.folder / path) for path in (image, label) if path is not None}
    return Written(record, image, label, size, class_pixels, odd_pixels, converted, fingerprints)


def _suffix(facts: ImageFacts) -> str:
    return ".jpg" if facts.lossy and facts.levels is None else ".png"


def _convert_image(record: Record, size: tuple[int, int], bits: int, target: Path) -> None:
    page = read_stored_image(record.image)
    with naming(record.image):
        picture = Image.fromarray(np.ascontiguousarray(turn(to_8_bits(page, bits), page.orientation)))
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=3)
    picture.save(target, **({"quality": _JPEG_QUALITY} if target.suffix == ".jpg" else {}))


def _write_mask(
    record: Record, facts: ImageFacts, size: tuple[int, int], plan: WritingPlan, target: Path
) -> tuple[NDArray[np.int64], int]:
    """Write the joined masks; returns pixels by class, without undecided ones, and odd pixels."""
    found, odd_pixels = [], 0
    for path in record.masks:
        stored, _ = upright_mask(path, facts.stored_size, facts.orientation)
        with naming(path):
            indices, odd = plan.class_map.indices(stored)
        found.append(indices)
        odd_pixels += odd
    mask = Image.fromarray(join(found, record.masks))
    if mask.size != size:
        mask = mask.resize(size, Image.Resampling.NEAREST)
    target.parent.mkdir(parents=True, exist_ok=True)
    mask.save(target)
    pixels = np.bincount(np.asarray(mask).ravel(), minlength=IGNORED_LABEL + 1)
    return pixels[: plan.class_map.num_classes], odd_pixels
