"""The images to predict: one, or those of a folder."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from custom.errors import InputError
from custom.files import is_system_file, require_regular_file
from custom.pixels.formats import IMAGE_SUFFIXES, describe_unread, has_suffix

__all__ = ["list_images"]

logger = logging.getLogger(__name__)

_READ = ", ".join(IMAGE_SUFFIXES)


def list_images(source: str | os.PathLike) -> list[dict[str, str]]:
    """Data items {"image": absolute path} of one image, or of all images directly in a folder, by name.

    Hidden files and those that operating systems add are passed over. Files of formats that are not read are counted in
    a warning.

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
        if unread := describe_unread([source]):
            raise InputError(f"dataset_dir {source} is no image ({_READ}): {unread}")
        return [{"image": str(source.absolute())}]
    files = [path for path in _entries(source) if not path.is_dir()]
    images = [path for path in files if has_suffix(path)]
    unread = describe_unread(files, annotations=False)
    if not images:
        raise InputError(f"dataset_dir {source}: holds no image ({_READ}); {unread or _instead(source)}")
    if unread:
        logger.warning("dataset_dir %s: left out are %s", source, unread)
    _require_distinct_outputs(images)
    for path in images:
        require_regular_file(path)
    return [{"image": str(path.absolute())} for path in images]


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
        other = stems.setdefault(unicodedata.normalize("NFC", path.stem), path)
        if other is not path:
            raise InputError(f"{path} and {other.name} would both write {path.stem}.png; rename one of them")
