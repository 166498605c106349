"""Look at every file before anything is written: what is broken is set aside and named, what is sound is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from tqdm import tqdm

from custom.errors import InputError
from custom.pixels.formats import IMAGE_SUFFIXES
from custom.pixels.images import largest_value, read_stored_image
from custom.pixels.mask_facts import MaskFacts, mask_facts
from custom.pixels.naming import UnreadableFile
from custom.pixels.page import MAX_PIXELS
from custom.prepare.records import Record
from custom.prepare.upright import OtherSize, upright_mask
from custom.wording import first_message

__all__ = ["PROBLEMS", "ImageFacts", "Inspection", "inspect_records", "over_all"]

IMAGE_UNREADABLE = "Unreadable images, left out"
KEPT_WITHOUT_LABEL = "Images whose mask is unreadable or of another size, kept without label"
HELD_OUT_WITHOUT_LABEL = "Published validation or test images without a usable mask, left out"
PROBLEMS = (IMAGE_UNREADABLE, KEPT_WITHOUT_LABEL, HELD_OUT_WITHOUT_LABEL)

WORKERS = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ImageFacts:
    """What is known of a sound image.

    Attributes:
        stored_size: (width, height) as stored.
        orientation: EXIF orientation.
        levels: largest value, if it has more than 8 bits; else None.
        is_grey: it is stored as grey.
        lossy: it is stored as JPEG or the like.
        has_known_suffix: the file's name ends as the loader expects it.
    """

    stored_size: tuple[int, int]
    orientation: int
    levels: int | None
    is_grey: bool
    lossy: bool
    has_known_suffix: bool

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) upright."""
        return self.stored_size[::-1] if self.orientation >= 5 else self.stored_size


@dataclass
class Inspection:
    """The sound records with their facts, and what was wrong with the others.

    An image whose mask cannot be used still serves as an unlabelled training image. One that is published for
    validation or test is left out: it cannot be scored, and training must not see it.

    Attributes:
        sound: records and facts.
        masks: facts of each of their masks.
        problems: one line each for the files that cannot be used, by kind: see `PROBLEMS`.
        doubtful_orientation: names of images whose masks may be turned the other way.
    """

    sound: list[tuple[Record, ImageFacts]] = field(default_factory=list)
    masks: list[MaskFacts] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)
    doubtful_orientation: list[str] = field(default_factory=list)


def inspect_records(records: Sequence[Record], max_side: int | None, show_progress: bool) -> Inspection:
    """Read all images and masks.

    Raises:
        InputError: an image is too large for training and is not to be scaled down; a mask may be meant in several
            ways; or no record is sound.
    """
    inspection = Inspection()
    for record, outcome in zip(
        records, over_all(partial(_inspect, max_side=max_side), records, "reading", show_progress), strict=True
    ):
        if isinstance(outcome, InputError):
            inspection.problems.setdefault(IMAGE_UNREADABLE, []).append(str(outcome))
            continue
        facts, masks = outcome
        held_out = record.split in ("validation", "test")
        if held_out and not record.masks:
            masks = InputError(f"{record.image} has no mask")
        if isinstance(masks, InputError):
            kind = HELD_OUT_WITHOUT_LABEL if held_out else KEPT_WITHOUT_LABEL
            inspection.problems.setdefault(kind, []).append(str(masks))
            if not held_out:
                inspection.sound.append((replace(record, masks=()), facts))
            continue
        facts_of_masks, doubtful = masks
        inspection.sound.append((record, facts))
        inspection.masks += facts_of_masks
        if doubtful:
            inspection.doubtful_orientation.append(record.name)
    if not any(record.masks for record, _ in inspection.sound):
        lines = [line for found in inspection.problems.values() for line in found]
        raise InputError(first_message(lines) if lines else "no image has a mask; add at least one mask")
    return inspection


def over_all(
    function: Callable[[Item], Result], items: Sequence[Item], description: str, show_progress: bool
) -> list[Result]:
    """`function` of each item, in threads (decoding and hashing leave Python's lock), with a progress bar."""
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(function, items)
        quiet = None if show_progress else True  # None: quiet unless on a terminal
        return list(tqdm(found, description, len(items), unit="item", disable=quiet))


def _inspect(
    record: Record, max_side: int | None
) -> tuple[ImageFacts, tuple[list[MaskFacts], bool] | InputError] | InputError:
    """What is known of the image and of its masks, or why the one or the other cannot be used."""
    try:
        facts = _image_facts(record)
    except InputError as error:
        return error
    if max_side is None and facts.size[0] * facts.size[1] > MAX_PIXELS:
        raise InputError(
            f"{record.image}: {facts.size[0]}x{facts.size[1]} pixels are more than the {MAX_PIXELS} training takes; "
            "scale the images down with --max-side, such as --max-side 2048"
        )
    try:
        return facts, _mask_facts(record, facts)
    except (UnreadableFile, OtherSize) as error:
        return facts, error


def _mask_facts(record: Record, facts: ImageFacts) -> tuple[list[MaskFacts], bool]:
    """The facts of the record's masks, and whether their orientation was a guess."""
    found, doubtful = [], False
    for path in record.masks:
        mask, guessed = upright_mask(path, facts.stored_size, facts.orientation)
        found.append(mask_facts(mask, path))
        doubtful |= guessed
    return found, doubtful


def _image_facts(record: Record) -> ImageFacts:
    page = read_stored_image(record.image)
    return ImageFacts(
        stored_size=page.size,
        orientation=page.orientation,
        levels=largest_value(page),
        is_grey=page.values.ndim == 2 and page.palette is None,
        lossy=page.lossy,
        has_known_suffix=record.image.suffix.strip().lower() in IMAGE_SUFFIXES,
    )
