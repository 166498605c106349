"""Semi-supervised medical image segmentation as MONAI bundles: the components the bundles share."""

from __future__ import annotations

import importlib
from types import ModuleType

from custom.version import __version__, check_version, find_model

__all__ = ["__version__", "check_version", "find_model"]


def __getattr__(name: str) -> ModuleType:
    """Submodules are imported when first named: a configuration needs `$import custom` alone."""
    try:
        return importlib.import_module(f"custom.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"custom.{name}":
            raise  # the submodule is there, something it needs is not
        raise AttributeError(f"module 'custom' has no attribute {name!r}") from None
