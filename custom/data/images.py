"""The images, volumes and slides to predict: one, or those of a folder."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from custom.errors import InputError
from custom.files import is_system_file, require_regular_file
from custom.pixels.formats import IMAGE_SUFFIXES, describe_unread, has_suffix
from custom.pixels.images import read_stored_image
from custom.pixels.naming import UnreadableFile
from custom.slides import SLIDE_SUFFIXES
from custom.volumes import is_dicom_series
from custom.volumes.kinds import VOLUME_SUFFIXES, is_dicom_file, is_volume, volume_name

__all__ = ["list_images"]

logger = logging.getLogger(__name__)

_READ = f"{', '.join((*IMAGE_SUFFIXES, *SLIDE_SUFFIXES, *VOLUME_SUFFIXES))}, or a folder that is a DICOM series"


def list_images(source: str | os.PathLike) -> list[dict[str, str]]:
    """Data items {"image": absolute path} of one image, volume or slide, or of all directly in a folder, by name.

    A folder of DICOM slices in places of their own is one volume, a series; a folder in the folder that holds DICOM
    alone is one too. Hidden files and those that operating systems add are passed over. Files of formats that are not
    read are counted in a warning.

    Raises:
        InputError: nothing there, no image, something which is no regular file, or two images whose masks would have
            the same name.
    """
    source = Path(source)
    if not os.path.lexists(source):
        raise InputError(
            f"dataset_dir {source}: no such file or folder; give --dataset_dir an image or a folder of images"
        )
    if not source.is_dir():
        require_regular_file(source)
        if not _is_image(source) and (unread := describe_unread([source]) or _unknown(source)):
            raise InputError(f"dataset_dir {source} is no image ({_READ}): {unread}")
        return [{"image": str(source.absolute())}]
    entries = _entries(source)
    if is_dicom_series([path for path in entries if is_dicom_file(path)]) and is_volume(source):
        return [{"image": str(source.absolute())}]
    images = [path for path in entries if _is_image(path)]
    left = [path for path in entries if path not in images and not path.is_dir()]
    unread = describe_unread(left, annotations=False)
    if not images:
        raise InputError(f"dataset_dir {source}: holds no image ({_READ}); {unread or _instead(source)}")
    if unread:
        logger.warning("dataset_dir %s: left out are %s", source, unread)
    _require_distinct_outputs(images)
    for path in images:
        if not path.is_dir():
            require_regular_file(path)
    return [{"image": str(path.absolute())} for path in images]


def _unknown(path: Path) -> str:
    """What is wrong with a file whose name tells nothing; "" if it holds a picture."""
    try:
        read_stored_image(path)
    except UnreadableFile:
        return "the file is of an unknown kind; save it as one of these"
    except InputError:  # a picture that has another fault, which is told when it is read
        return ""
    return ""


def _is_image(path: Path) -> bool:
    if path.is_dir():
        return is_volume(path) and is_dicom_series(_entries(path))
    return has_suffix(path, (*IMAGE_SUFFIXES, *SLIDE_SUFFIXES)) or is_volume(path)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not is_system_file(path))
    except OSError as error:
        raise InputError(f"{error.filename} cannot be read ({error.strerror}); check its permissions") from error


def _instead(folder: Path) -> str:
    folders = [path.name for path in _entries(folder) if path.is_dir()]
    if not folders:
        return "give a folder of images"
    return f"folders in it are not searched: give one of them ({', '.join(folders[:5])})"


def _require_distinct_outputs(images: Iterable[Path]) -> None:
    """Refuse two images whose masks would get names that are the same, or the same on macOS."""
    stems: dict[str, Path] = {}
    for path in images:
        try:
            path.name.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{path} has a name that is no Unicode text; rename it") from error
        stem = volume_name(path) if is_volume(path) else path.stem
        other = stems.setdefault(unicodedata.normalize("NFC", stem), path)
        if other is not path:
            raise InputError(f"{path} and {other.name} would both write the mask {stem}; rename one of them")
