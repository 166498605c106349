"""The version of the shared components, and whether a bundle came with the one that runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from custom.error_hook import show_input_errors_in_one_line
from custom.errors import InputError

__all__ = ["__version__", "check_version", "find_model"]

__version__ = "0.7.0"


def check_version(bundle_root: str | os.PathLike) -> None:
    """Make sure that a bundle is at `bundle_root`, and that it holds this version of `custom`, if it holds one at all.

    Several bundles in one process share the package that was imported first. Every bundle command begins with this
    check, so that none runs with code it was not made for.

    Raises:
        InputError: no bundle is there, or it came with another version.
    """
    show_input_errors_in_one_line()
    if not (Path(bundle_root) / "configs" / "metadata.json").is_file():
        raise InputError(
            f"bundle_root {bundle_root}: no bundle there, seen from {Path.cwd()}; start from another folder, or give "
            "--bundle_root DIR, the folder that holds configs/"
        )
    file = Path(bundle_root) / "custom" / Path(__file__).name
    if not file.parent.is_dir():
        return
    found = re.search(r'^__version__ = "(.+)"$', file.read_text(), re.MULTILINE) if file.is_file() else None
    version = found.group(1) if found else "unknown"
    if version != __version__:
        raise InputError(
            f"{file.parent} has version {version}, but version {__version__} is running from {Path(__file__).parent}: "
            "start another process for this bundle, away from other copies of custom"
        )


def find_model(bundle_root: str | os.PathLike) -> str:
    """Path of `models/model.pt` of the bundle at `bundle_root`.

    Where no bundle is there, that of the bundle which holds this package: other programs, such as MONAI Deploy, read
    the configuration of an exported bundle without saying where it lies.
    """
    roots = (Path(bundle_root), Path(__file__).parents[1])
    root = next((each for each in roots if (each / "configs" / "metadata.json").is_file()), roots[0])
    return os.path.join(root, "models", "model.pt")
