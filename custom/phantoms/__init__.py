"""Synthetic data sets of four kinds of images, for tests and the quickstart."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submod_attrs={"dataset": ["MODALITIES", "write_phantom_dataset"]}
)
