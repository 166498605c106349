"""The end of a process: one line for an error that a user can fix, and for ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from types import TracebackType
from typing import NoReturn

from custom.error_causes import find_input_error, find_refused_access, is_interrupt

__all__ = ["SECONDS_FOR_THE_FIRST_PROCESS", "advise_after_interrupt", "show_input_errors_in_one_line"]

SECONDS_FOR_THE_FIRST_PROCESS = 3.0
"""How long the other processes wait, so that the first one reports the error before torchrun ends all."""

_advice = "interrupted; start the command again"


def advise_after_interrupt(words: str = "interrupted; start the command again") -> None:
    """Set the line that ctrl-C ends this process with."""
    global _advice
    _advice = words


def show_input_errors_in_one_line() -> None:
    """Make the interpreter print what a user can fix as one line, without a traceback.

    An uncaught `InputError` and a disk that is full or may not be used end the process with status 1, ctrl-C with
    status 130. Every other error keeps its traceback. Nothing changes for code that catches the error, so a server
    which hosts the bundle still gets an exception.

    Under torchrun the same error usually stops every process. All but the first wait for a moment before they report
    it, in which the first reports it and torchrun ends them.
    """
    for handler in (*logging.getLogger().handlers, logging.lastResort):
        if handler is not None and not any(isinstance(known, _Brief) for known in handler.filters):
            handler.addFilter(_Brief())
    previous = sys.excepthook
    if getattr(previous, "shows_input_errors", False):
        return

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if is_interrupt(error):
            _end_interrupted()
        message = str(found) if (found := find_input_error(error)) else find_refused_access(error)
        if message is None:
            previous(kind, error, traceback)
            return
        if not _is_first_process():
            time.sleep(SECONDS_FOR_THE_FIRST_PROCESS)
        print(f"error: {message}", file=sys.stderr)

    hook.shows_input_errors = True
    sys.excepthook = hook


def _end_interrupted() -> NoReturn:
    if _is_first_process():
        print(f"\n{_advice}", file=sys.stderr, flush=True)
    raise SystemExit(128 + signal.SIGINT)  # from a hook, this is how a process ends with a status of its own


def _is_first_process() -> bool:
    return int(os.environ.get("RANK", 0)) == 0


class _Brief(logging.Filter):
    """Keeps Ignite from logging an error, with all its text, that is about to be shown in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record."""
        is_ignites = record.name.startswith("ignite.engine") and "is terminating due to exception" in str(record.msg)
        return not (is_ignites and find_input_error(sys.exc_info()[1]) is not None)
