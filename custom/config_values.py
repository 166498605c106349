"""Values of configurations and command lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ignite.utils import manual_seed

from custom.errors import InputError

__all__ = ["flag", "seeded"]

T = TypeVar("T")


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


def seeded(seed: int, build: Callable[[], T]) -> T:
    """What `build` returns when every random number generator starts at `seed`: the same initial weights every time."""
    manual_seed(seed)
    return build()
