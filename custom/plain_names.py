"""Which texts may name a file or a folder, by two rules: for a user's own folders, and for what a request names.

The wider rule is for a name that users give to a folder of their own, such as `run_name`: any one folder of this file
system. The stricter one is for names that come over a network and that other programs read, such as those of images and
tags of MONAI Label. It also refuses hidden files, what a shell or MONAI would evaluate, and what Windows cannot store.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["MOST_BYTES", "folder_name_fault", "strict_name_fault"]

MOST_BYTES = 200
"""Length of the longest name in UTF-8: file systems take 255, and `-2` or a suffix is appended to it."""

_NOT_AT_THE_START = (".", "$", "@", "%", "~")  # hidden files, and what MONAI or a shell would evaluate
_FORBIDDEN = re.compile(r'[<>:"|?*]|[@%]#')  # patterns and drives; MONAI's relative references
_RESERVED = re.compile(
    r"labels|datastore_v2(\.json)?|(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE
)  # MONAI Label's own names, and Windows'


def folder_name_fault(name: str) -> str | None:
    """What is wrong with the name of a user's folder, as the end of a sentence that begins with it; None if nothing.

    Examples:
        >>> folder_name_fault("busi 10%") is None
        True
        >>> folder_name_fault("a/b")
        'holds characters of a path or an expression'
    """
    if not name:
        return "is empty"
    if any(unicodedata.category(letter)[0] == "C" or letter in "\u2028\u2029" for letter in name):
        return "holds characters that cannot be seen"
    if len(name.encode()) > MOST_BYTES:
        return f"is longer than {MOST_BYTES} bytes"
    if "/" in name or "\\" in name:
        return "holds characters of a path or an expression"
    if name.strip() != name or name in (".", ".."):
        return "starts or ends with a character that is not allowed there"
    return None


def strict_name_fault(name: str) -> str | None:
    """What is wrong with a name that came from a request; see `folder_name_fault`, which it includes.

    Examples:
        >>> strict_name_fault("case_001") is None
        True
        >>> strict_name_fault("$x")
        'starts or ends with a character that is not allowed there'
        >>> strict_name_fault("nul.png")
        'is reserved'
    """
    if fault := folder_name_fault(name):
        return fault
    if name.startswith(_NOT_AT_THE_START) or name.endswith("."):
        return "starts or ends with a character that is not allowed there"
    if _FORBIDDEN.search(name):
        return "holds characters of a path or an expression"
    if _RESERVED.fullmatch(name):
        return "is reserved"
    return None
