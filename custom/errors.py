"""Mistakes a user can mend, shown as one line."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType

__all__ = ["InputError", "find_input_error", "one_line", "show_input_errors_in_one_line"]


SECONDS_FOR_THE_FIRST_PROCESS = 3.0  # to say what is wrong, before the others end


class InputError(ValueError):
    """Something given from outside is wrong: the message names the file or key and the fix, in one line.

    Characters that do not print, such as a line break in the name of a file, are shown as escapes.
    """

    def __init__(self, message: object = "") -> None:
        text = str(message)
        # The text of a whole traceback, with which PyTorch raises anew what was raised in a worker of a DataLoader.
        from_worker = text.startswith("Caught ") and "\nOriginal Traceback" in text
        super().__init__(text if from_worker else one_line(text))


def one_line(text: str) -> str:
    """`text` with escapes for the characters that do not print, such as a line break in the name of a file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def find_input_error(error: BaseException | None) -> InputError | None:
    """The `InputError` behind `error`, which MONAI's config parser wraps in its own errors, or None."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def show_input_errors_in_one_line() -> None:
    """Make the interpreter print an uncaught `InputError` as one line and leave with status 1.

    Every other error keeps its traceback. Nothing changes for code that catches the error, so a server which
    hosts the bundle still sees an exception.

    Under torchrun the same mistake usually stops every process. All but the first hold their tongue for a moment, in
    which the first says it and torchrun ends them.
    """
    previous = sys.excepthook
    if getattr(previous, "shows_input_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        found = find_input_error(error)
        if found is None:
            previous(kind, error, traceback)
        else:
            if int(os.environ.get("RANK", 0)) > 0:
                time.sleep(SECONDS_FOR_THE_FIRST_PROCESS)
            print(f"error: {found}", file=sys.stderr)

    hook.shows_input_errors = True
    sys.excepthook = hook
