"""Names that a request may give to images and tags: plain names of files, never paths or expressions."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path, PurePath, PureWindowsPath

from custom.errors import InputError
from custom.pixels.formats import IMAGE_SUFFIXES

__all__ = ["check_name", "check_upload", "is_plain", "same_name"]

MOST_BYTES = 200
"""Length of the longest name, in UTF-8; with suffixes added to it, it stays below what file systems allow."""

_NOT_AT_THE_START = (".", "$", "@", "%", "~", " ")  # hidden files, and what MONAI or a shell would evaluate
_NOT_AT_THE_END = (".", " ")  # Windows drops them
_FORBIDDEN = re.compile(r'[<>:"/\\|?*]|[@%]#')  # paths and patterns; MONAI's relative references
_RESERVED = re.compile(
    r"labels|datastore_v2(\.json)?|(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE
)  # also Windows'


def check_name(name: str, kind: str = "name") -> str:
    """Refuse a name that is no plain name of a file.

    Args:
        name: the name, without a folder; in any language.
        kind: what it names, for the message.

    Returns:
        `name` as it is.

    Raises:
        InputError: the name is empty, reserved, too long or hidden, starts like an expression, or holds characters of
            paths or characters that cannot be seen.
    """
    fault = _fault(name)
    if fault:
        raise InputError(f"{kind} {_shown(name)} {fault}; give a plain name such as case_001")
    return name


def is_plain(name: str) -> bool:
    """Whether `check_name` lets the name pass."""
    return _fault(name) is None


def check_upload(filename: str | None) -> str:
    """Refuse an uploaded file of another type than images and masks; only the last part of its path counts.

    Raises:
        InputError: the file has no name, or its suffix is none of `IMAGE_SUFFIXES`.
    """
    name = PureWindowsPath(PurePath(filename or "").name).name  # some clients send the whole path on their side
    if Path(name).suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"file {_shown(name)} is of no known type; send one of {', '.join(IMAGE_SUFFIXES)}")
    check_name(name.lstrip(".$@%~ "), "file")  # only its suffix is used, so that it may start in any way
    return name


def same_name(name: str) -> str:
    """The form in which names are compared: composed Unicode, as most systems but macOS write it."""
    return unicodedata.normalize("NFC", name)


def _fault(name: str) -> str | None:
    if not name:
        return "is empty"
    if any(unicodedata.category(letter).startswith("C") for letter in name):
        return "holds characters that cannot be seen"
    if len(name.encode()) > MOST_BYTES:
        return f"is longer than {MOST_BYTES} bytes"
    if name.startswith(_NOT_AT_THE_START) or name.endswith(_NOT_AT_THE_END):
        return "starts or ends with a character that is not allowed there"
    if _FORBIDDEN.search(name):
        return "holds characters of a path or an expression"
    if _RESERVED.fullmatch(name):
        return "is reserved"
    return None


def _shown(name: str) -> str:
    return repr(name) if len(name) <= 60 else f"{name[:60]!r}..."
