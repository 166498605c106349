"""Files of weights: written whole, read without running code, and described where they are something else."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "files": ["load_checkpoint", "save_atomically"],
        "kinds": ["describe_content", "describe_file"],
        "weights": ["check_architecture", "check_finite", "check_tensors", "digest"],
    },
)
