"""The folder of a run: where it is, who works in it, and with which options it may continue."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "folders": ["keep", "run_folder", "start"],
        "lock": ["lock_folder", "unlock_folder"],
        "resumed_options": ["check_resumed_options"],
    },
)
