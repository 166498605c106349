"""Errors about a file of pixels, in one line that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from custom.errors import InputError, short_reason
from custom.files import require_regular_file

__all__ = ["UnreadableFile", "naming", "shown_path"]


class UnreadableFile(InputError):
    """A file of pixels is missing or broken; every other `InputError` of a reader is about what the pixels mean."""


def shown_path(path: str | PathLike[str]) -> str:
    """`path` as it is put into messages: quoted where it holds line breaks or other characters that do not print."""
    text = str(path)
    return text if text.isprintable() else repr(text)


@contextmanager
def naming(path: str | PathLike[str]) -> Iterator[None]:
    """Around the reading of `path`: a file that may be opened, and messages that begin with its name.

    Raises:
        UnreadableFile: `path` is no regular file, or cannot be decoded.
        InputError: as it was raised within the block, with the name.
    """
    try:
        require_regular_file(path)
    except InputError as error:
        raise UnreadableFile(str(error)) from error
    try:
        yield
    except InputError as error:
        raise InputError(f"{shown_path(path)}: {error}") from error
    except Exception as error:  # decoders answer broken files with OSError, SyntaxError, ValueError, struct.error, ...
        reason = short_reason(error, 300)
        raise UnreadableFile(f"{shown_path(path)} cannot be read as an image; replace the file ({reason})") from error
