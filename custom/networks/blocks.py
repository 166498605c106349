"""Small helpers that several networks share."""

from __future__ import annotations

__all__ = ["group_count"]


def group_count(channels: int, maximum: int) -> int:
    """The largest number of normalisation groups up to `maximum` that divides `channels`."""
    return next(groups for groups in range(maximum, 0, -1) if channels % groups == 0)
