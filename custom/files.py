"""Files: written so that they are never half there, and told apart by their content."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from custom.errors import InputError

__all__ = ["file_digest", "is_system_file", "require_regular_file", "short_names", "write_whole"]

_SYSTEM_NAMES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "icon\r"}


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a regular file's content, as hexadecimal digits.

    Raises:
        InputError: see `require_regular_file`.
    """
    require_regular_file(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_system_file(path: str | os.PathLike[str]) -> bool:
    """Whether the last part of `path` is hidden or a name that operating systems add by themselves.

    Examples are `.DS_Store`, `._scan.png`, `Thumbs.db` and the folder `__MACOSX`. Only the name counts, not the file.
    """
    name = Path(path).name
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def require_regular_file(path: str | os.PathLike[str]) -> None:
    """Refuse what cannot be read like a file: opening a FIFO, a socket or a device may wait for ever.

    Links are followed.

    Raises:
        InputError: `path` does not exist, cannot be looked at, or is no regular file. The message names it.
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


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the target, then rename: an interrupted run leaves the old file or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    os.replace(partial, path)
