"""Names that a request may give to images and tags: plain names of files, never paths or expressions."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import PurePath, PureWindowsPath

from custom.errors import InputError
from custom.pixels.formats import IMAGE_SUFFIXES
from custom.plain_names import strict_name_fault
from custom.volumes.kinds import NIFTI_SUFFIXES, NRRD_SUFFIXES
from custom.wording import shown

__all__ = ["STORED_SUFFIXES", "check_name", "check_upload", "is_plain", "same_name", "split_suffix"]

STORED_SUFFIXES = (*IMAGE_SUFFIXES, *NIFTI_SUFFIXES, *NRRD_SUFFIXES)
"""Of images and labels in the datastore: pictures and volumes."""

RAW_SUFFIX, OUTLINES_SUFFIX = ".bin", ".xml"
LABEL_SUFFIXES = (*STORED_SUFFIXES, OUTLINES_SUFFIX, RAW_SUFFIX)
"""Of labels that are uploaded: also outlines as QuPath sends them, and plain voxels as OHIF does."""


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


def check_upload(filename: str | None, suffixes: Sequence[str] = STORED_SUFFIXES) -> str:
    """Refuse an uploaded file of another type than those offered; only the last part of its path counts.

    Args:
        filename: as the client sends it.
        suffixes: of the types offered, in lower case.

    Returns:
        The suffix, in lower case.

    Raises:
        InputError: the file has no name, or its suffix is none of `suffixes`.
    """
    name = PureWindowsPath(PurePath(filename or "").name).name  # some clients send the whole path on their side
    stem, suffix = split_suffix(name, suffixes)
    if not suffix:
        raise InputError(f"file {shown(name)} is of no known type; send one of {', '.join(suffixes)}")
    if not stem.lstrip("."):
        raise InputError(f"file {shown(name)} has no name before its type; send one such as case_001{suffix}")
    check_name(name.lstrip(".$@%~ "), "file")  # only its suffix is used, so that it may start in any way
    return suffix.lower()


def split_suffix(name: str, suffixes: Sequence[str] = STORED_SUFFIXES) -> tuple[str, str]:
    """The name of a file without its suffix, and the suffix; that is empty if it is none of `suffixes`."""
    found = max((suffix for suffix in suffixes if name.lower().endswith(suffix)), key=len, default="")
    return name[: len(name) - len(found)], name[len(name) - len(found) :]


def same_name(name: str) -> str:
    """The form in which names are compared: composed Unicode, as most systems but macOS write it."""
    return unicodedata.normalize("NFC", name)
