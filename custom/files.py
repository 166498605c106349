"""Files: written so that they are never half there, and told apart by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["file_digest", "short_names", "write_whole"]


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
