"""A program that a script or a test runs beside itself, and that never outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import IO

__all__ = ["Child"]

_WATCH = """
import os, signal, sys
sys.stdin.buffer.read()  # until the process that holds the other end is gone
os.killpg(int(sys.argv[1]), signal.SIGKILL)
"""


class Child:
    """A program in a session of its own with the processes that it starts.

    They are all killed as soon as this process has ended, also where it was killed itself: a process that waits for the
    end of a pipe sees to that.

    Attributes:
        process: the program.

    Args:
        command: the program and its arguments.
        output: where its output and its errors go; they are dropped by default.
        environment: its environment; None for that of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        output: IO | int = subprocess.DEVNULL,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        self._watch = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCH, str(self.process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def stop(self, kill: bool = False, patience: float = 20.0) -> None:
        """End the program and the processes that it started.

        Args:
            kill: at once, as in a power failure.
            patience: seconds until the program is killed if it does not end by itself.
        """
        self._watch.kill()  # before the number of the group can be another's
        self._watch.wait()
        self._watch.stdin.close()
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL if kill else signal.SIGTERM)
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
