"""Any folder with `images/` and `masks/`: an image without a mask is unlabelled."""

from __future__ import annotations

from pathlib import Path

from custom.data.prepare.listing import list_files, nothing_found, pair_by_name, pairs_of_folders
from custom.data.prepare.records import Found, Record, Request, Source
from custom.errors import InputError

__all__ = ["FOLDER"]

_SPLIT_WORDS = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def find_folder(request: Request) -> Found:
    """Pair images and masks by name. Folders called train, val or test give the split, if every image lies in one."""
    pairs = [
        (source, folders)
        for source in request.sources
        for folders in pairs_of_folders(source.folder, ("images", "image"), ("masks", "mask"))
    ]
    if not pairs:
        raise nothing_found(request.sources, FOLDER.name, FOLDER.layout)
    found = Found([])
    for source, folders in pairs:
        place = folders.parent.relative_to(source.folder).as_posix() if len(pairs) > 1 else ""
        if len(request.sources) > 1:
            place = f"{Path(source.given.name).stem}/{place}".rstrip("/")
        matched, left_over = pair_by_name(
            list_files(folders.images), list_files(folders.masks), folders.images, folders.masks
        )
        found.masks_without_image += left_over
        for name, image, mask in matched:
            name = f"{place}/{name}" if place not in ("", ".") else name
            found.records.append(Record(name, image, () if mask is None else (mask,), split=_split(name)))
    if not any(record.masks for record in found.records):
        raise InputError(
            f"{request.sources[0].given}: {len(found.records)} images and no mask for any of them; give at least one "
            "mask the name of its image"
        )
    _keep_split_if_complete(found, request.published_split)
    return found


def _split(name: str) -> str | None:
    return next((_SPLIT_WORDS[part] for part in name.lower().split("/")[:-1] if part in _SPLIT_WORDS), None)


def _keep_split_if_complete(found: Found, wanted: bool) -> None:
    splits = {record.split for record in found.records}
    if None in splits or "training" not in splits or not wanted:
        found.records = [Record(record.name, record.image, record.masks) for record in found.records]
    else:
        found.notes.append(f"Split by the names of the folders: {', '.join(sorted(splits))}.")


FOLDER = Source(
    name="folder",
    title="any images/ and masks/ of your own",
    layout='the folders "images" and "masks" beside each other',
    find=find_folder,
    masks="found",
)
