"""From what people download to a checked data set: `python -m custom prepare`."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "archives": ["ArchiveLimits"],
        "options": ["PrepareOptions"],
        "run": ["Prepared", "prepare_dataset"],
        "sources": ["SOURCES"],
    },
)
