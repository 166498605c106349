"""Any folder with `images/` and `masks/`: an image without a mask is unlabelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from custom.errors import InputError
from custom.pixels.formats import IMAGE_SUFFIXES, describe_unread, unread_format
from custom.pixels.naming import UnreadableFile
from custom.prepare.listing import files_in, list_files, lone_folders, nothing_found, pairs_of_folders
from custom.prepare.pairing import READ_NAMES, Pairing, are_samples, pair_by_name
from custom.prepare.records import Found, OpenedSource, Record, Request, Source
from custom.prepare.volumes import cut_volume, describe_cut, require_same_segments, volumes_in
from custom.volumes.kinds import VOLUME_SUFFIXES, is_volume
from custom.wording import first_message

__all__ = ["FOLDER"]

_IMAGE_FOLDERS = ("images", "image")
_MASK_FOLDERS = ("masks", "mask")
_NAMES_SHOWN = 3
_SPLIT_WORDS = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass
class _Part:
    """A folder of images with the folder of masks beside it, either of which may be missing.

    Attributes:
        source: where it lies.
        images: folder of images.
        masks: folder of masks.
    """

    source: OpenedSource
    images: Path | None
    masks: Path | None

    @cached_property
    def image_files(self) -> list[Path]:
        return _images_and_volumes(self.images)

    @cached_property
    def mask_files(self) -> list[Path]:
        return _images_and_volumes(self.masks)

    @cached_property
    def other_files(self) -> list[Path]:
        """Files with other suffixes than images have."""
        everything = [path for folder in (self.images, self.masks) if folder for path in files_in(folder)]
        read = {*self.image_files, *self.mask_files}
        return [path for path in everything if path not in read and path.parent not in read]  # slices of a series


def find_folder(request: Request) -> Found:
    """Pair images and masks by name. Folders called train, val or test give the split, if every image lies in one.

    Where every image lies in a folder of its own, all masks in the folder beside it are its masks. Volumes are cut into
    slices; their patient is the first folder below "images", else the one that a DICOM file names, else the volume.
    """
    parts = [part for source in request.sources for part in _parts(source)]
    if not any(part.images and part.masks for part in parts):
        raise _no_pair(request.sources)
    samples = are_samples((part.images, part.image_files) for part in parts if part.images)
    found, broken = Found([]), []
    require_same_segments([path for part in parts for path in part.mask_files])
    for part in parts:
        pairing = _pair(part, samples)
        found.masks_without_image += pairing.masks_without_image
        prefix = _prefix(part, len(parts) > 1, len(request.sources) > 1)
        for name, image, masks in pairing.images:
            patient = next((part for part in name.split("/")[:-1] if part.lower() not in _SPLIT_WORDS), None)
            name = f"{prefix}/{name}" if prefix else name
            if is_volume(image):
                records, problem = _cut(request, image, masks, name, patient)
                found.records += records
                broken += filter(None, [problem])
            else:
                found.records.append(Record(name, image, masks, split=_split(name)))
    if broken:
        found.warnings.append(f"Volumes or masks of volumes that cannot be read, left out: {first_message(broken)}.")
    if not any(record.masks for record in found.records):
        if broken:
            raise InputError(first_message(broken))
        raise _nothing_fits(request, parts, found)
    _separate_anonymous_patients(found)
    if volumes := {record.volume for record in found.records if record.volume}:
        found.notes.append(describe_cut(len(volumes), request.window))
    _warn_of_the_rest(found, parts)
    _keep_split_if_complete(found, request.published_split)
    return found


def _images_and_volumes(folder: Path | None) -> list[Path]:
    return sorted([*list_files(folder), *volumes_in(folder)]) if folder else []


def _cut(
    request: Request, image: Path, masks: tuple[Path, ...], name: str, patient: str | None
) -> tuple[list[Record], str]:
    """The slices of a volume, without masks where these cannot be read; and what cannot be read, or ""."""
    settings = {"group": patient, "split": _split(name), "window": request.window}
    try:
        return cut_volume(image, masks, request.workspace, name, **settings), ""
    except UnreadableFile as error:
        problem = str(error)
    try:
        return cut_volume(image, (), request.workspace, name, **settings), problem
    except UnreadableFile as error:
        return [], str(error)


def _separate_anonymous_patients(found: Found) -> None:
    """Where all volumes name one patient, as anonymised files may, each counts as a patient of its own."""
    volumes = {record.volume for record in found.records if record.volume}
    patients = {record.group for record in found.records if record.volume}
    if len(volumes) > 2 and len(patients) == 1:
        found.records = [replace(each, group=each.volume or each.group) for each in found.records]
        found.warnings.append(
            f"All {len(volumes)} volumes are of the patient {patients.pop()!r}; each counts as a patient of its own. "
            "If several are of one patient, put them into a folder for each patient."
        )


def _parts(source: OpenedSource) -> Iterator[_Part]:
    """Pairs of folders, then folders of images or of masks that are in no pair."""
    pairs = pairs_of_folders(source.folder, _IMAGE_FOLDERS, _MASK_FOLDERS)
    yield from (_Part(source, pair.images, pair.masks) for pair in pairs)
    taken = [folder for pair in pairs for folder in (pair.images, pair.masks)]
    yield from (_Part(source, folder, None) for folder in lone_folders(source.folder, _IMAGE_FOLDERS, taken))
    yield from (_Part(source, None, folder) for folder in lone_folders(source.folder, _MASK_FOLDERS, taken))


def _pair(part: _Part, samples: bool) -> Pairing:
    if part.images is None:
        return Pairing(masks_without_image=part.mask_files)
    return pair_by_name(part.image_files, part.mask_files, part.images, part.masks or part.images, samples)


def _prefix(part: _Part, several_parts: bool, several_sources: bool) -> str:
    """What the names of the part's images begin with, so that they differ from those of the others."""
    parent = (part.images or part.masks).parent.relative_to(part.source.folder).as_posix()
    place = [parent] if several_parts and parent != "." else []
    return "/".join([Path(part.source.given.name).stem, *place] if several_sources else place)


def _no_pair(sources: Sequence[OpenedSource]) -> InputError:
    """No folders of images and masks: report what is there, and how to convert what is of a format that is not read."""
    error = nothing_found(sources, FOLDER.name, FOLDER.layout)
    unread = describe_unread(path for source in sources for path in files_in(source.folder))
    return InputError(f"{error}{_not_read(unread)}")


def _nothing_fits(request: Request, parts: Sequence[_Part], found: Found) -> InputError:
    """No image has a mask: show one image and one mask beside each other, or the files that are not read."""
    counts = f"{len(found.records) or 'no'} images and no mask for any of them"
    unread = describe_unread(path for part in parts for path in part.other_files)
    if found.records and found.masks_without_image:
        image, mask = (_place(path, parts) for path in (found.records[0].image, found.masks_without_image[0]))
        counts += (
            f": {len(found.masks_without_image)} masks, but no name fits, such as image {image} and mask {mask}; "
            f"{READ_NAMES}"
        )
    elif not unread:
        counts += "; give at least one mask the name of its image"
    return InputError(f"{request.sources[0].given}: {counts}{_not_read(unread)}")


def _place(path: Path, parts: Sequence[_Part]) -> Path:
    """`path` relative to its source."""
    folders = [part.source.folder for part in parts if path.is_relative_to(part.source.folder)]
    return path.relative_to(folders[0]) if folders else path


def _not_read(unread: str) -> str:
    return f"; not read are {unread}; read are {', '.join((*IMAGE_SUFFIXES, *VOLUME_SUFFIXES))}" if unread else ""


def _warn_of_the_rest(found: Found, parts: Sequence[_Part]) -> None:
    """Count what was joined, what is unlabelled and what was not read."""
    if several := [record for record in found.records if len(record.masks) > 1]:
        example = f"{several[0].image.name}: {', '.join(mask.name for mask in several[0].masks[:_NAMES_SHOWN])}"
        found.warnings.append(f"{len(several)} images have several masks, which are joined ({example}).")
    without_mask = {record.image.stem for record in found.records if not record.masks}
    unread = describe_unread(
        path
        for part in parts
        for path in part.other_files
        if (unread := unread_format(path)) and (not unread.annotation or path.stem in without_mask)
    )
    if unread:
        found.warnings.append(f"Not read are {unread}.")


def _split(name: str) -> str | None:
    return next((_SPLIT_WORDS[part] for part in name.lower().split("/")[:-1] if part in _SPLIT_WORDS), None)


def _keep_split_if_complete(found: Found, wanted: bool) -> None:
    splits = {record.split for record in found.records}
    if None in splits or "training" not in splits or not wanted:
        found.records = [replace(record, split=None) for record in found.records]
    else:
        found.notes.append(f"Split by the names of the folders: {', '.join(sorted(splits))}.")


FOLDER = Source(
    name="folder",
    title="any images/ and masks/ of your own",
    layout='the folders "images" and "masks" beside each other',
    find=find_folder,
    masks="found",
)
