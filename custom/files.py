"""Files: written so that they are never half there, and told apart by their content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

__all__ = ["file_digest", "write_whole"]


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the target, then rename: an interrupted run leaves the old file or the new one, never half of it."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    os.replace(partial, path)
