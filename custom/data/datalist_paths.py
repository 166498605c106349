"""From the paths in a datalist to the files they mean, whichever system the datalist was written on."""

from __future__ import annotations

import os
import re
import unicodedata
from functools import cache
from pathlib import Path
from reprlib import Repr
from typing import Any

from custom.errors import InputError
from custom.files import name_key
from custom.pixels.formats import IMAGE_SUFFIXES, describe_unread

__all__ = ["DatalistPaths", "shown"]

_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_short = Repr()
_short.maxstring = _short.maxother = 120


def shown(value: Any) -> str:
    """`value` as Python writes it, cut to at most about 120 characters."""
    return _short.repr(value)


class DatalistPaths:
    """Finds the files that the paths of a datalist mean.

    A path that names no file as it stands may name one with "\\" for "/", as Windows writes paths, or with accents
    composed otherwise or in another case, which macOS and Windows ignore.

    Args:
        dataset_dir: the absolute folder which paths start from. Links below it are followed.
    """

    def __init__(self, dataset_dir: Path) -> None:
        self.dataset_dir = dataset_dir
        self._names = cache(_names_by_key)

    def find(self, path: Any, where: str) -> str:
        """The absolute path of the file, without ".."; a file that is not there keeps its path.

        Args:
            path: the path in the datalist.
            where: the entry of the datalist it belongs to, for messages.

        Raises:
            InputError: no path, a path outside the folder, so that a datalist from elsewhere cannot point at other
                files, or to a file of a format that is not read; or two files which it may mean.
        """
        _require_path(path, where)
        if "\\" in path and not os.path.lexists(self.dataset_dir / path):
            if _WINDOWS_DRIVE.match(path):
                raise InputError(
                    f"{where}: {shown(path)} is on a drive of Windows; give a path relative to dataset_dir"
                )
            path = path.replace("\\", "/")
        absolute = os.path.normpath(self.dataset_dir / path)
        self._require_inside(absolute, path, where)
        if unread := describe_unread([Path(absolute)]):
            raise InputError(f"{where}: {unread}; read are {', '.join(IMAGE_SUFFIXES)}")
        if os.path.lexists(absolute) or not Path(absolute).is_relative_to(self.dataset_dir):
            return absolute
        return self._as_on_disk(Path(absolute), where)

    def _require_inside(self, absolute: str, path: str, where: str) -> None:
        if absolute == str(self.dataset_dir):
            raise InputError(f"{where} holds {shown(path)} for a path; name a file")
        if Path(absolute).is_relative_to(self.dataset_dir):
            return
        if not Path(os.path.realpath(absolute)).is_relative_to(os.path.realpath(self.dataset_dir)):
            raise InputError(
                f"{where}: {shown(path)[1:-1]} lies outside dataset_dir {self.dataset_dir}; give a path relative to it"
            )

    def _as_on_disk(self, absolute: Path, where: str) -> str:
        """The file whose path differs in case and accents alone; if there is none, `absolute` with composed accents."""
        place = self.dataset_dir
        for name in absolute.relative_to(self.dataset_dir).parts:
            known = self._names(place).get(name_key(name), [])
            composed = unicodedata.normalize("NFC", name)
            same = [other for other in known if unicodedata.normalize("NFC", other) == composed]
            found = [other for other in same if other == name] or same or known or [composed]
            if len(found) > 1:
                raise InputError(f"{where}: {place / found[0]} or {found[1]} may be meant; rename one of them")
            place /= found[0]
        return str(place)


def _require_path(path: Any, where: str) -> None:
    if not isinstance(path, str) or not path.strip():
        raise InputError(f"{where} holds {shown(path)} for a path; write a text")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: {shown(path)} holds half a character; correct the path") from error
    if "\0" in path:
        raise InputError(f"{where}: {shown(path)} holds a NUL, which no name can hold; correct the path")


def _names_by_key(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    try:
        for name in sorted(os.listdir(folder)):
            names.setdefault(name_key(name), []).append(name)
    except OSError:
        return {}  # what is missing is named where it is read
    return names
