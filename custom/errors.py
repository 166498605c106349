"""Mistakes a user can mend, shown as one line."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from types import TracebackType

__all__ = ["InputError", "find_input_error", "show_input_errors_in_one_line"]


SECONDS_FOR_THE_FIRST_PROCESS = 3.0  # to say what is wrong, before the others end
_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback")


class InputError(ValueError):
    """Something given from outside is wrong: the message names the file or key and the mend, in one line."""


def find_input_error(error: BaseException | None) -> InputError | None:
    """The `InputError` behind `error`, or None.

    MONAI's config parser wraps it in its own errors, and PyTorch's `DataLoader` hands over an error of a worker as the
    text of a traceback within an error of the same kind.
    """
    while error is not None:
        if isinstance(error, RuntimeError | ValueError) and (found := _from_worker(str(error))) is not None:
            return found
        if isinstance(error, InputError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _from_worker(text: str) -> InputError | None:
    """The last `InputError` in the text that a `DataLoader` makes of an error in a worker."""
    if not _WORKER.match(text):
        return None
    names = tuple(f"{kind.__module__}.{kind.__qualname__}: " for kind in _kinds(InputError))
    lines = [line.partition(": ")[2] for line in text.splitlines() if line.startswith(names)]
    return InputError(lines[-1]) if lines else None


def _kinds(kind: type[InputError]) -> list[type[InputError]]:
    return [kind, *(inner for narrower in kind.__subclasses__() for inner in _kinds(narrower))]


class _Brief(logging.Filter):
    """Keeps Ignite from logging an error, with all its text, that is about to be shown in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record."""
        is_ignites = record.name.startswith("ignite.engine") and "is terminating due to exception" in str(record.msg)
        return not (is_ignites and find_input_error(sys.exc_info()[1]) is not None)


def show_input_errors_in_one_line() -> None:
    """Make the interpreter print an uncaught `InputError` as one line and leave with status 1.

    Every other error keeps its traceback. Nothing changes for code that catches the error, so a server which
    hosts the bundle still sees an exception.

    Under torchrun the same mistake usually stops every process. All but the first hold their tongue for a moment, in
    which the first says it and torchrun ends them.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        found = find_input_error(error)
        if found is None:
            previous(kind, error, traceback)
        else:
            if int(os.environ.get("RANK", 0)) > 0:
                time.sleep(SECONDS_FOR_THE_FIRST_PROCESS)
            print(f"error: {' '.join(str(found).splitlines())}", file=sys.stderr)

    sys.excepthook = hook
    for handler in (*logging.getLogger().handlers, logging.lastResort):
        if handler is not None and not any(isinstance(known, _Brief) for known in handler.filters):
            handler.addFilter(_Brief())
