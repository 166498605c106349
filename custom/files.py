"""Files: written whole or not at all, compared by content, and refused in one line where they cannot be read."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from custom.errors import InputError

__all__ = [
    "file_digest",
    "is_partial",
    "is_system_file",
    "name_key",
    "open_file",
    "require_regular_file",
    "short_names",
    "whole_file",
    "write_whole",
]

_SYSTEM_NAMES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"}
_PARTIAL = ".part"


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, as hexadecimal digits. A file that has not changed is read once.

    Raises:
        InputError: see `require_regular_file`; or it cannot be read.
    """
    require_regular_file(path)
    status = os.stat(path)
    return _digest(os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=1 << 17)
def _digest(path: str, *_state: int) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_key(name: str) -> str:
    """What names share that people take for one name: without case, outer spaces and the way accents are composed.

    macOS writes "é" as "e" with an accent (NFD), Windows and Linux as one character (NFC).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name.strip()).casefold())


@contextmanager
def open_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that a user named, for reading bytes.

    Raises:
        InputError: see `require_regular_file`; or it cannot be read.
    """
    require_regular_file(path)
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error


def is_system_file(path: str | os.PathLike[str]) -> bool:
    """Whether the last part of `path` is hidden or a name that operating systems add by themselves.

    Examples are `.DS_Store`, `._scan.png`, `Thumbs.db` and the folder `__MACOSX`. Only the name counts, not the file.
    """
    name = Path(path).name
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def require_regular_file(path: str | os.PathLike[str]) -> None:
    """Refuse what cannot be read like a file: opening a FIFO, a socket or a device may wait without end.

    Links are followed.

    Raises:
        InputError: `path` does not exist, cannot be accessed, or is no regular file. The message names it.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; correct the path or restore the file") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)!r} cannot be opened ({reason}); correct the path") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file (a pipe, socket or device)"
        raise InputError(f"{path} is {kind}; give a file")


def short_names(paths: Sequence[str]) -> list[str]:
    """Cut what all paths share: bare names when the files lie in one folder, else distinct relative paths.

    Paths are as they were if one of them names no folder.
    """
    folders = [os.path.dirname(path) for path in paths]
    if not all(folders):
        return list(paths)
    shared = os.path.commonpath(folders)
    return [Path(os.path.relpath(path, shared)).as_posix() for path in paths]


@contextmanager
def whole_file(path: str | os.PathLike[str], durable: bool = False) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing bytes, which takes the place of `path` when the block ends.

    An interrupted run leaves the old file or the new one, never half of it; what a killed process leaves is known to
    `is_partial`.

    Args:
        path: the file to write; its folder exists.
        durable: wait until the content is on the disk, so that it survives a power failure too.

    Raises:
        OSError: it cannot be written, with the name of the file; the old one is kept.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    try:
        with partial.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.errno is None:  # raised by a library, without the system's reason
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file of `content` at once, see `whole_file`.

    Raises:
        OSError: it cannot be written, with the name of the file; the old one is kept.
    """
    with whole_file(path) as file:
        file.write(content)


def is_partial(path: str | os.PathLike[str]) -> bool:
    """Whether the name is one that `whole_file` gives to a file which is not finished."""
    name = Path(path).name
    return name.startswith(".") and name.endswith(_PARTIAL)
