"""Closing runs that are still open: at the end of the process, and when it gets SIGTERM."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from custom.error_causes import is_interrupt

__all__ = ["ClosingGuard"]


class ClosingGuard:
    """Calls `close` with "KILLED" after ctrl-C or else "FAILED" if the process ends before `release` is called.

    SIGTERM becomes `SystemExit`, so that the process ends as after an error, unless the program handles it already.

    Args:
        close: called with the closing status, in the process that made the guard and not in its forks.
    """

    def __init__(self, close: Callable[[str], None]) -> None:
        self._close = close
        self._process = os.getpid()
        atexit.register(self._close_at_exit)
        self._handles_sigterm = _in_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if self._handles_sigterm:
            signal.signal(signal.SIGTERM, _exit_on_signal)

    def release(self) -> None:
        """Put everything back as it was."""
        atexit.unregister(self._close_at_exit)
        if self._handles_sigterm and _in_main_thread() and signal.getsignal(signal.SIGTERM) is _exit_on_signal:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _close_at_exit(self) -> None:
        if os.getpid() == self._process:  # not in a forked loader worker
            was_interrupted = is_interrupt(getattr(sys, "last_value", None))
            self._close("KILLED" if was_interrupted else "FAILED")


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _exit_on_signal(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
