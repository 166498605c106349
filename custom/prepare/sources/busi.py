"""BUSI as its authors distribute it: `benign (1).png` beside `benign (1)_mask.png`, `benign (1)_mask_1.png`, ..."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from custom.errors import InputError
from custom.prepare.listing import list_files, nothing_found
from custom.prepare.records import Found, Record, Release, Request, Source
from custom.prepare.sources.published import published_names

__all__ = ["BUSI"]

_FILE_NAME = re.compile(r"(benign|malignant|normal)\s*\((\d+)\)\s*(_mask(?:_\d+)?)?", re.IGNORECASE)


def find_busi(request: Request) -> Found:
    """Join the masks of each image, leave out the normal cases, mark the published test images."""
    images: dict[str, Path] = {}
    masks: dict[str, list[Path]] = defaultdict(list)
    for source in request.sources:
        for path in list_files(source.folder):
            match = _FILE_NAME.fullmatch(path.stem.strip())
            if match is None:
                continue
            name = f"{match[1].lower()} ({int(match[2])})"
            if match[3]:
                masks[name].append(path)
            elif images.setdefault(name, path) is not path:
                raise InputError(f"{path} and {images[name]} are both {name}; give one copy of the data set")
    lesions = [name for name in images if not name.startswith("normal")]
    if not lesions or not masks:
        raise nothing_found(request.sources, BUSI.name, BUSI.layout)

    published = set(published_names("busi")["test"])
    missing = published - set(lesions)
    use_published = request.published_split and not missing
    records = [
        Record(name, images[name], tuple(masks[name]), split="test" if use_published and name in published else None)
        for name in lesions
    ]
    found = Found(records, [path for name in masks if name not in images for path in masks[name]])
    several = sum(len(record.masks) > 1 for record in records)
    found.notes.append(
        f"{len(images) - len(lesions)} normal cases left out; {several} images had several masks, joined."
    )
    if use_published:
        found.notes.append(f"Test: the {len(published)} images of the public list of GMS.")
    elif request.published_split:
        found.warnings.append(
            f"{len(missing)} of the {len(published)} published test images are missing: seeded split."
        )
    return found


BUSI = Source(
    name="busi",
    title="BUSI, breast ultrasound",
    layout='images such as "benign (1).png" beside masks such as "benign (1)_mask.png" (Dataset_BUSI_with_GT)',
    find=find_busi,
    short_name="BUSI",
    class_names=("background", "lesion"),
    one_connected_component=True,
    release=Release(517, {"1%": 5, "5%": 26, "10%": 52, "20%": 104, "30%": 155, "50%": 260}),
)
