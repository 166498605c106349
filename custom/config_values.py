"""Values of configurations and command lines."""

from __future__ import annotations

from typing import Any

from custom.errors import InputError

__all__ = ["flag"]


def flag(value: Any) -> bool:
    """A yes-or-no setting. The command line delivers `--resume true` as the text "true".

    Raises:
        InputError: the value is neither.
    """
    text = str(value).lower()
    if text in ("true", "1", "yes", "on"):
        return True
    if text in ("false", "0", "no", "off", "none"):
        return False
    raise InputError(f"{value!r} is neither true nor false")
