"""Mistakes a user can mend, shown as one line."""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from types import TracebackType

__all__ = [
    "InputError",
    "advise_after_interrupt",
    "find_input_error",
    "is_interrupt",
    "one_line",
    "short_reason",
    "show_input_errors_in_one_line",
]

_REFUSED = {
    errno.ENOSPC: "free some space and start the command again; a training goes on with --resume true",
    errno.EDQUOT: "free some space and start the command again; a training goes on with --resume true",
    errno.EROFS: "give a folder on a disk that can be written",
    errno.EACCES: "change its permissions or give another path",
}

SECONDS_FOR_THE_FIRST_PROCESS = 3.0  # to say what is wrong, before the others end
_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback")

_advice = "interrupted; start the command again"


class InputError(ValueError):
    """Something given from outside is wrong: the message names the file or key and the fix, in one line.

    Characters that do not print, such as a line break in the name of a file, are shown as escapes.
    """

    def __init__(self, message: object = "") -> None:
        text = str(message)
        # The text of a whole traceback, with which PyTorch raises anew what was raised in a worker of a DataLoader.
        super().__init__(text if _WORKER.match(text) else one_line(text))


def one_line(text: str) -> str:
    """`text` with escapes for the characters that do not print, such as a line break in the name of a file."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def short_reason(error: BaseException, most: int = 160) -> str:
    """What `error` reports, in one line of at most `most` characters; the name of its class if it reports nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def find_input_error(error: BaseException | None) -> InputError | None:
    """The `InputError` behind `error`, or None.

    MONAI's config parser wraps it in its own errors, and PyTorch's `DataLoader` hands over an error of a worker as the
    text of a traceback within an error of the same kind.
    """
    for each in _chain(error):
        if isinstance(each, RuntimeError | ValueError) and (found := _from_worker(str(each))) is not None:
            return found
        if isinstance(each, InputError):
            return each
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


def is_interrupt(error: BaseException | None) -> bool:
    """Whether ctrl-C is behind `error`."""
    return any(isinstance(each, KeyboardInterrupt) for each in _chain(error))


def advise_after_interrupt(words: str = "interrupted; start the command again") -> None:
    """Set the line that ctrl-C ends this process with."""
    global _advice
    _advice = words


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _find_refused_access(error: BaseException) -> str | None:
    """One line on a full disk or missing permissions; None for any other error.

    Libraries and the workers of a data loader pass the reason on as text alone.
    """
    for each in _chain(error):
        number = each.errno if isinstance(each, OSError) else None
        for wanted in _REFUSED:
            if number == wanted or (wanted != errno.EACCES and os.strerror(wanted) in str(each)):
                file = getattr(each, "filename", None) or "writing the results"
                return f"{file}: {os.strerror(wanted)}; {_REFUSED[wanted]}"
    return None


class _Brief(logging.Filter):
    """Keeps Ignite from logging an error, with all its text, that is about to be shown in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record."""
        is_ignites = record.name.startswith("ignite.engine") and "is terminating due to exception" in str(record.msg)
        return not (is_ignites and find_input_error(sys.exc_info()[1]) is not None)


def show_input_errors_in_one_line() -> None:
    """Make the interpreter print what a user can mend as one line, without a traceback.

    An uncaught `InputError` and a disk that is full or may not be used end the process with status 1, ctrl-C with
    status 130. Every other error keeps its traceback. Nothing changes for code that catches the error, so a server
    which hosts the bundle still sees an exception.

    Under torchrun the same mistake usually stops every process. All but the first hold their tongue for a moment, in
    which the first says it and torchrun ends them.
    """
    for handler in (*logging.getLogger().handlers, logging.lastResort):
        if handler is not None and not any(isinstance(known, _Brief) for known in handler.filters):
            handler.addFilter(_Brief())
    previous = sys.excepthook
    if getattr(previous, "shows_input_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        found = find_input_error(error)
        is_first = int(os.environ.get("RANK", 0)) == 0
        if is_interrupt(error):
            if is_first:
                print(f"\n{_advice}", file=sys.stderr, flush=True)
            raise SystemExit(128 + signal.SIGINT)  # from a hook, this is how a process ends with a status of its own
        message = str(found) if found else _find_refused_access(error)
        if message is None:
            previous(kind, error, traceback)
            return
        if not is_first:
            time.sleep(SECONDS_FOR_THE_FIRST_PROCESS)
        print(f"error: {message}", file=sys.stderr)

    hook.shows_input_errors = True
    sys.excepthook = hook
