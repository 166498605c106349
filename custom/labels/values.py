"""Values of label tensors that every part of the project agrees on."""

from __future__ import annotations

__all__ = ["IGNORED_LABEL", "MOST_CLASSES"]

IGNORED_LABEL = 255
"""Label of a pixel whose class is undecided: it enters no loss and no metric."""

MOST_CLASSES = 255
"""Most classes, background included: labels are 8-bit, and `IGNORED_LABEL` is none of them."""
