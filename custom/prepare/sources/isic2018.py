"""ISIC-2018 task 1 as the challenge distributes it: input and ground truth of training, validation and test."""

from __future__ import annotations

import re
from pathlib import Path

from custom.errors import InputError
from custom.prepare.listing import list_files, nothing_found
from custom.prepare.records import Found, Record, Release, Request, Source

__all__ = ["ISIC2018"]

_IMAGE = re.compile(r"ISIC_\d+", re.IGNORECASE)
_MASK = re.compile(r"(ISIC_\d+)_segmentation", re.IGNORECASE)
_PARTS = ("training", "validation", "test")


def find_isic2018(request: Request) -> Found:
    """Pair the images and masks by their numbers; the folder's name gives the part of the challenge."""
    images: dict[str, tuple[Path, str | None]] = {}
    masks: dict[str, Path] = {}
    for source in request.sources:
        for path in list_files(source.folder):
            place = Path(source.given.name, path.relative_to(source.folder)).parent
            if _IMAGE.fullmatch(path.stem.strip()):
                name = path.stem.strip().upper()
                if name in images:
                    raise InputError(f"{path} and {images[name][0]} are both {name}; give one copy of the data set")
                images[name] = (path, _part(place) if request.published_split else None)
            elif match := _MASK.fullmatch(path.stem.strip()):
                name = match[1].upper()
                if masks.setdefault(name, path) is not path:
                    raise InputError(f"{path} and {masks[name]} are both masks of {name}; remove one")
    if not images or not masks:
        raise nothing_found(request.sources, ISIC2018.name, ISIC2018.layout)
    records = [
        Record(name, path, (masks[name],) if name in masks else (), split=split)
        for name, (path, split) in sorted(images.items())
    ]
    found = Found(records, [mask for name, mask in masks.items() if name not in images])
    counts = {part: sum(record.split == part for record in records) for part in _PARTS}
    if any(counts.values()):
        found.notes.append(f"Parts of the challenge: {', '.join(f'{part} {count}' for part, count in counts.items())}.")
    return found


def _part(place: Path) -> str | None:
    """The part which the deepest folder with "Task1" in its name gives, such as ISIC2018_Task1-2_Test_Input."""
    for folder in reversed(place.parts):
        if match := re.search(r"task1.*_(training|validation|test)_", folder, re.IGNORECASE):
            return match[1].lower()
    return None


ISIC2018 = Source(
    name="isic2018",
    title="ISIC-2018 task 1, dermoscopy",
    layout="images such as ISIC_0000000.jpg and masks such as ISIC_0000000_segmentation.png (a --source for each zip)",
    find=find_isic2018,
    short_name="ISIC-2018",
    class_names=("background", "lesion"),
    one_connected_component=True,
    validation_share=0.2,
    release=Release(2075, {"10%": 207, "30%": 622}),
)
