"""Folders are taken as they are, archives are unpacked; messages name what the user gave."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from custom.errors import InputError
from custom.files import require_regular_file
from custom.prepare.archives import ArchiveLimits, is_archive, unpack
from custom.prepare.records import OpenedSource

__all__ = ["as_given", "check_sources", "errors_as_given", "open_sources"]


def check_sources(given: Sequence[Path], output: Path) -> None:
    """Raise an `InputError` unless every source is a folder or an archive, and `output` lies in none of them."""
    if not given:
        raise InputError("no --source given; name a folder or an archive")
    for path in given:
        if not os.path.exists(path):
            raise InputError(f"--source {path} does not exist; give a folder or an archive")
        if not path.is_dir():
            require_regular_file(path)
            if not is_archive(path):
                raise InputError(f"--source {path} is no folder and no .zip, .tar, .tar.gz or .tgz; unpack it yourself")
        elif output == path or path in output.parents:
            raise InputError(f"--output {output} lies in the source {path}; name a folder elsewhere")


def open_sources(
    given: Sequence[Path], unpacked: Path, limits: ArchiveLimits | None, show_progress: bool
) -> list[OpenedSource]:
    """The sources, with archives unpacked below `unpacked`."""
    opened = []
    for number, path in enumerate(given):
        folder = path
        if path.is_file():
            folder = unpacked / str(number)
            unpack(path, folder, limits, show_progress)
        opened.append(OpenedSource(path, folder))
    return opened


def as_given(line: str, opened: Sequence[OpenedSource]) -> str:
    """`line` with paths in archives instead of paths where they were unpacked for a while."""
    for source in opened:
        line = line.replace(str(source.folder), str(source.given))
    return line


@contextmanager
def errors_as_given(opened: Sequence[OpenedSource]) -> Iterator[None]:
    """Let every `InputError` name files as the user knows them."""
    try:
        yield
    except InputError as error:
        raise InputError(as_given(str(error), opened)) from error
