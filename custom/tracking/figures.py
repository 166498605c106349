"""The numbers among the values that a training hands over, each with one name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["flatten", "is_scalar", "scalars"]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of nested mappings, with names such as "outer/inner".

    Example:
        >>> dict(flatten({"loss": 1.0, "validation": {"dice": 0.5}}))
        {'loss': 1.0, 'validation/dice': 0.5}
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def is_scalar(value: Any) -> bool:
    """Whether it is one number: of Python or NumPy, or an array or tensor without axes."""
    return isinstance(value, (int, float)) or getattr(value, "shape", None) == ()


def scalars(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers of nested mappings, see `flatten`; everything else is left out."""
    return ((name, float(value)) for name, value in flatten(values) if is_scalar(value))
