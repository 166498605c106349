"""The frozen autoencoder: its form, loading it from all usual files, and saving a trained one."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "model": ["FirstStage", "build_first_stage"],
        "loading": ["load_first_stage"],
        "saving": ["FirstStageSaver", "save_first_stage"],
    },
)
