"""Errors that a user can fix, whose message is one line."""

from __future__ import annotations

import re

__all__ = ["WORKER_TRACEBACK", "InputError", "one_line", "short_reason"]

WORKER_TRACEBACK = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback")
"""How the text begins with which PyTorch raises again what was raised in a worker of a `DataLoader`."""


class InputError(ValueError):
    """Something given from outside is wrong: the message names the file or key and the fix, in one line.

    Characters that do not print, such as a line break in the name of a file, are shown as escapes.
    """

    def __init__(self, message: object = "") -> None:
        text = str(message)
        super().__init__(text if WORKER_TRACEBACK.match(text) else one_line(text))


def one_line(text: str) -> str:
    """`text` with escapes for the characters that do not print, such as a line break in the name of a file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def short_reason(error: BaseException, most: int = 160) -> str:
    """The message of `error` in one line of at most `most` characters; the name of its class if it has no message."""
    return " ".join(str(error).split())[:most] or type(error).__name__
