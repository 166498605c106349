"""Names that a request may give to images and tags: plain names of files, never paths or expressions."""

from __future__ import annotations

import unicodedata
from pathlib import Path, PurePath, PureWindowsPath

from custom.errors import InputError
from custom.pixels.formats import IMAGE_SUFFIXES
from custom.plain_names import strict_name_fault
from custom.wording import shown

__all__ = ["check_name", "check_upload", "is_plain", "same_name"]


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
    fault = strict_name_fault(name)
    if fault:
        raise InputError(f"{kind} {shown(name)} {fault}; give a plain name such as case_001")
    return name


def is_plain(name: str) -> bool:
    """Whether `check_name` lets the name pass."""
    return strict_name_fault(name) is None


def check_upload(filename: str | None) -> str:
    """Refuse an uploaded file of another type than images and masks; only the last part of its path counts.

    Raises:
        InputError: the file has no name, or its suffix is none of `IMAGE_SUFFIXES`.
    """
    name = PureWindowsPath(PurePath(filename or "").name).name  # some clients send the whole path on their side
    if Path(name).suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"file {shown(name)} is of no known type; send one of {', '.join(IMAGE_SUFFIXES)}")
    check_name(name.lstrip(".$@%~ "), "file")  # only its suffix is used, so that it may start in any way
    return name


def same_name(name: str) -> str:
    """The form in which names are compared: composed Unicode, as most systems but macOS write it."""
    return unicodedata.normalize("NFC", name)
