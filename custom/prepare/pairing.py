"""Give images their masks by the names of the files."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from custom.errors import InputError
from custom.files import name_key
from custom.pixels.formats import IMAGE_SUFFIXES, has_suffix
from custom.volumes.kinds import VOLUME_SUFFIXES, volume_name

__all__ = ["READ_NAMES", "ImageWithMasks", "Pairing", "are_samples", "pair_by_name", "relative_name"]

READ_NAMES = (
    "a mask has the name of its image, or this name with an ending such as _mask, -labelled, _gt or, for several masks "
    "of one image, _mask_1, _mask_2"
)

_WORDS = (
    r"(?:masks?|segmentations?|segmented|seg|gt|ground[ _-]?truth|label(?:l?ed|s|map)?|anno(?:tations?|tated)?|manual)"
)
_ENDING = re.compile(rf"[ _.-]+{_WORDS}(?:[ _.-]*\(?\d+\)?)?$")
_SUFFIX = re.compile(rf"(?:{'|'.join(map(re.escape, (*IMAGE_SUFFIXES, *VOLUME_SUFFIXES)))})$")
_SEPARATOR = re.compile(r"[ _.\-(\[]")


class ImageWithMasks(NamedTuple):
    """An image, its name relative to its folder without suffix, and its masks, if it has any."""

    name: str
    image: Path
    masks: tuple[Path, ...]


@dataclass
class Pairing:
    """Images with their masks, and the masks of no image."""

    images: list[ImageWithMasks] = field(default_factory=list)
    masks_without_image: list[Path] = field(default_factory=list)


def pair_by_name(
    images: Iterable[Path],
    masks: Iterable[Path],
    image_folder: Path,
    mask_folder: Path,
    samples: bool = False,
    name_of: Mapping[Path, str] | None = None,
) -> Pairing:
    """Give each image its masks: see `READ_NAMES`; or those in a folder of its name.

    Case, outer spaces and the way accents are composed do not count.

    Args:
        images: files below `image_folder`.
        masks: files below `mask_folder`.
        image_folder: where names of images start.
        mask_folder: where names of masks start.
        samples: every folder holds one image, and the masks in the same place belong to it whatever their names.
        name_of: names of masks that count instead of those of the files.

    Raises:
        InputError: two images, or two masks, of one name; or a mask that two images may claim or that is of an image,
            but by an ending that is not known.
    """
    by_key = _by_key({path: relative_name(path, image_folder) for path in images})
    mask_keys = _by_key({path: (name_of or {}).get(path) or relative_name(path, mask_folder) for path in masks})
    place_of = {_place(key): key for key in by_key} if samples else {}
    masks_of: dict[str, list[Path]] = defaultdict(list)
    pairing = Pairing()
    for key, mask in mask_keys.items():
        owner = _owner(key, mask, by_key) or place_of.get(_place(key))
        if owner is not None:
            masks_of[owner].append(mask)
        elif image := _nearly_owner(key, by_key):
            raise InputError(
                f"{mask} looks like a mask of {by_key[image].name}, but its ending is not known: {READ_NAMES}; rename "
                "or remove it"
            )
        else:
            pairing.masks_without_image.append(mask)
    for key, image in by_key.items():
        pairing.images.append(ImageWithMasks(relative_name(image, image_folder), image, tuple(masks_of[key])))
    return pairing


def are_samples(folders: Iterable[tuple[Path, Iterable[Path]]]) -> bool:
    """Whether images lie in a folder each, given the folders with their images: then a folder is a sample."""
    places = Counter((folder, image.parent) for folder, images in folders for image in images)
    return len(places) > 1 and set(places.values()) == {1}


def relative_name(path: Path, folder: Path) -> str:
    """Path below `folder` without suffix and outer spaces, with composed accents."""
    name = path.name.strip()
    stem = volume_name(name) if has_suffix(name, VOLUME_SUFFIXES) or path.is_dir() else Path(name).stem
    parts = [*path.relative_to(folder).parts[:-1], stem]
    return unicodedata.normalize("NFC", "/".join(part.strip() for part in parts))


def _by_key(names: Mapping[Path, str]) -> dict[str, Path]:
    by_key: dict[str, Path] = {}
    for path, name in names.items():
        other = by_key.setdefault(name_key(name), path)
        if other is not path:
            raise InputError(f"{path} and {other.name} are two files of one name; rename one or remove it")
    return by_key


def _place(key: str) -> str:
    return key.rpartition("/")[0]


def _owner(key: str, mask: Path, images: Mapping[str, Path]) -> str | None:
    """The image which the mask's name names."""
    owners = list(dict.fromkeys(name for name in _possible_owners(key) if name in images))
    if len(owners) > 1:
        names = " and of ".join(images[owner].name for owner in owners[:2])
        raise InputError(f"{mask} may be the mask of {names}; rename one of the images")
    return owners[0] if owners else None


def _possible_owners(key: str) -> Iterator[str]:
    """The name itself, without one ending, without two, ...; then the folder."""
    name, shorter = None, key
    while shorter != name:
        name, shorter = shorter, _ENDING.sub("", shorter)
        yield name
        yield _SUFFIX.sub("", name)
    yield _place(key)


def _nearly_owner(key: str, images: Mapping[str, Path]) -> str | None:
    """The image whose name the mask's name continues."""
    start = len(_place(key)) + 1 if "/" in key else 0
    beginnings = (key[: match.start()].rstrip() for match in reversed(list(_SEPARATOR.finditer(key, start + 1))))
    return next((beginning for beginning in beginnings if beginning in images), None)
