"""Calls of a service that may fail without stopping the training."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from custom.errors import short_reason

__all__ = ["SafeCalls"]

logger = logging.getLogger(__name__)


class SafeCalls:
    """Turns the first failure into one warning, and skips further calls for a while after each failure.

    Args:
        service: name for the warning.
        pause: seconds without calls after a failure, so that a dead server does not slow every iteration.
    """

    def __init__(self, service: str, pause: float = 300.0) -> None:
        self.service = service
        self.pause = pause
        self._pause_until = 0.0
        self._has_warned = False

    def __call__(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Call it, unless a failure was short ago."""
        if time.monotonic() < self._pause_until:
            return
        try:
            call(*arguments)
        except Exception as error:
            self._pause_until = time.monotonic() + self.pause
            if not self._has_warned:
                reason = f"{type(error).__name__}: {short_reason(error, 300)}"
                logger.warning("%s failed, training continues without it (%s)", self.service, reason)
            self._has_warned = True

    def retry(self) -> None:
        """End the pause: the next call is made."""
        self._pause_until = 0.0
