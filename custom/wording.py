"""Parts of messages: values cut to a length, how many more there are, and the nearest known name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["and_more", "did_you_mean", "first_message", "nearest_name", "shown"]


def shown(value: Any, most: int = 60) -> str:
    """A value in a message: in one line of ASCII escapes unless it is a text that prints, cut after `most` characters.

    >>> shown("10%"), shown("a\\nb"), shown(None), shown("x" * 9, most=3)
    ('10%', "'a\\\\nb'", 'None', 'xxx...')
    """
    text = value if isinstance(value, str) and value.strip() and value.isprintable() else ascii(value)
    return text if len(text) <= most else f"{text[:most]}..."


def and_more(count: int) -> str:
    """` and 3 more` after some of a list, where `count` others are not named; nothing if there are none."""
    return f" and {count} more" if count > 0 else ""


def first_message(messages: Sequence[str]) -> str:
    """The first of one or more messages, and how many others there are."""
    others = and_more(len(messages) - 1).strip()
    return f"{messages[0]} ({others})" if others else messages[0]


def nearest_name(text: str, known: Iterable[str]) -> str | None:
    """The known name that a mistyped one comes nearest to; None where none is near. Case does not count in `text`."""
    return next(iter(difflib.get_close_matches(text.lower(), list(known), n=1, cutoff=0.5)), None)


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """`; did you mean 'NAME'?` with the nearest of the known names, or nothing where none is near."""
    nearest = nearest_name(text, known)
    return f"; did you mean {nearest!r}?" if nearest else ""
