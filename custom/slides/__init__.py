"""Whole slides: pictures too large for memory, predicted region by region, with masks as pyramids of tiles."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "kinds": ["SLIDE_SUFFIXES", "apart", "is_slide"],
        "prediction": ["SlidePredictor"],
        "reading": ["Slide"],
        "writing": ["TiledPicture"],
    },
)
