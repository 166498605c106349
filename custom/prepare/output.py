"""The prepared folder appears whole or not at all, and nothing that others made is ever replaced."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from custom.errors import InputError
from custom.files import open_file
from custom.prepare.listing import files_in

__all__ = ["Workplace", "is_prepared", "source_digest", "workplace"]

MARKER = "prepared.json"
"""Written last: which command made the folder from what, and the size of every file in it."""

_MADE_BY = "custom.prepare"
_WORKPLACE_MARK = "unfinished.txt"
_LOCK = "lock"


class Workplace:
    """A hidden folder beside the output, in which the prepared folder is made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.prepared = root / "prepared"
        self.unpacked = root / "unpacked"
        self.made = root / "made"
        self.prepared.mkdir()
        self.made.mkdir()

    def forget_sources(self) -> None:
        """Free the disk of what was unpacked or made on the way."""
        for folder in (self.unpacked, self.made):
            shutil.rmtree(folder, ignore_errors=True)


def source_digest(source: Path) -> str:
    """Digest of the names, sizes and times of change of a file, or of all files of a folder."""
    paths = [source] if source.is_file() else files_in(source)
    lines = []
    for path in paths:
        status = path.stat() if path.exists() else path.lstat()  # of the link where it leads nowhere
        lines.append(f"{path.relative_to(source).as_posix()} {status.st_size} {status.st_mtime_ns}\n")
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def is_prepared(output: Path, request: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether `output` already holds, whole, what is asked for.

    Raises:
        InputError: `output` holds something that may not be replaced.
    """
    if not os.path.lexists(output):
        return False
    if not output.is_dir():
        raise InputError(f"--output {output} is a file; name a folder")
    if not any(output.iterdir()):
        return False
    marker = _read_marker(output)
    if marker is None:
        raise InputError(f"--output {output} holds files of others; name a new or an empty folder")
    whole = all(_size(output / path) == size for path, size in marker["files"].items())
    if whole and marker["request"] == request and not overwrite:
        return True
    if foreign := _foreign_files(output, marker):
        raise InputError(f"--output {output} holds {foreign[0]}, which was not prepared; move it away first")
    if not overwrite:
        reason = "was prepared otherwise or from another source" if whole else "was changed or lacks files"
        raise InputError(f"--output {output} {reason}; add --overwrite to make it anew, or name another folder")
    return False


@contextmanager
def workplace(output: Path, request: Mapping[str, Any]) -> Iterator[Workplace]:
    """A place to prepare in. Its "prepared" becomes `output` when the block ends well; otherwise nothing stays.

    Raises:
        InputError: another command is preparing the same output, or the disk is full or may not be written.
    """
    root = output.with_name(f".{output.name}.unfinished")
    try:
        with _only_here(root, output):
            try:
                _clear(root)
                place = Workplace(root)
                yield place
                _write_marker(place.prepared, request)
                _put_in_place(place.prepared, output, root / "replaced")
            finally:
                shutil.rmtree(root, ignore_errors=True)
    except OSError as error:
        place = error.filename or f"--output {output}"
        raise InputError(f"{place}: {error.strerror or error}; check the disk and its permissions") from error


@contextmanager
def _only_here(root: Path, output: Path) -> Iterator[None]:
    """Make `root` and keep every other command out of it; a crashed command's lock is gone with its process."""
    if root.exists() and not (root / _WORKPLACE_MARK).is_file():
        raise InputError(f"{root} is in the way and was not made by this command; move it away")
    root.mkdir(parents=True, exist_ok=True)
    (root / _WORKPLACE_MARK).write_text("A data set is being prepared here. Safe to delete when nothing runs.\n")
    try:
        with FileLock(root / _LOCK, timeout=0):
            yield
    except Timeout:
        raise InputError(f"--output {output} is being prepared by another command; wait for it") from None


def _put_in_place(prepared: Path, output: Path, replaced: Path) -> None:
    """Rename `prepared` to `output`; what was there goes to `replaced`, or comes back if that fails."""
    if output.exists():
        os.rename(output, replaced)
    try:
        os.rename(prepared, output)
    except OSError:
        if replaced.exists():
            os.rename(replaced, output)
        raise


def _clear(root: Path) -> None:
    """Remove what a killed command left."""
    for left in root.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name not in (_WORKPLACE_MARK, _LOCK):
            left.unlink()


def _write_marker(folder: Path, request: Mapping[str, Any]) -> None:
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(_files(folder))}
    content = {"made_by": _MADE_BY, "request": request, "files": files}
    (folder / MARKER).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _read_marker(folder: Path) -> dict[str, Any] | None:
    try:
        with open_file(folder / MARKER) as file:
            content = json.load(file)
    except (InputError, ValueError, RecursionError):
        return None
    is_ours = isinstance(content, dict) and content.get("made_by") == _MADE_BY and "request" in content
    return content if is_ours and isinstance(content.get("files"), dict) else None


def _foreign_files(folder: Path, marker: Mapping[str, Any]) -> Sequence[str]:
    known = {*marker["files"], MARKER}
    return sorted({path.relative_to(folder).as_posix() for path in _files(folder)} - known)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
