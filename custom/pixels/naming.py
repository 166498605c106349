"""Whatever is wrong with a file of pixels becomes one line that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from custom.errors import InputError
from custom.files import require_regular_file

__all__ = ["naming", "shown_path"]


def shown_path(path: str | PathLike[str]) -> str:
    """`path` as it is put into messages: quoted where it holds line breaks or other characters that do not print."""
    text = str(path)
    return text if text.isprintable() else repr(text)


@contextmanager
def naming(path: str | PathLike[str]) -> Iterator[None]:
    """Around the reading of `path`: a file that may be opened, and messages that begin with its name.

    Raises:
        InputError: `path` is no regular file, or whatever goes wrong within the block.
    """
    require_regular_file(path)
    try:
        yield
    except InputError as error:
        raise InputError(f"{shown_path(path)}: {error}") from error
    except Exception as error:  # decoders answer broken files with OSError, SyntaxError, ValueError, struct.error, ...
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise InputError(f"{shown_path(path)} cannot be read as an image; replace the file ({reason})") from error
