"""Checks of all files of a data set before anything is trained on it or predicted from it."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"dataset": ["check_dataset", "check_images"]}
)
