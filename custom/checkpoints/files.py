"""Files of PyTorch: written atomically, read without unpickling code."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from custom.checkpoints.kinds import LEGACY_TORCH, describe_file
from custom.errors import InputError, short_reason
from custom.files import require_regular_file, whole_file

__all__ = ["load_checkpoint", "save_atomically"]


def save_atomically(content: Any, path: str | os.PathLike) -> None:
    """`torch.save` through a temporary file in the same folder: `path` holds the old content or the new, never half.

    Raises:
        InputError: the content could not be written (disk full, folder not writable); `path` is as it was.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, durable=True) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:
        kept = (
            "the last good one is kept; free some space and continue with --resume true"
            if path.exists()
            else "is the disk full?"
        )
        reason = getattr(error, "strerror", None) or short_reason(error, 200)
        raise InputError(f"cannot save {path} ({reason}): {kept}") from error


def load_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Tensors and plain values of a checkpoint, on the CPU.

    Raises:
        InputError: the file is missing or is no checkpoint.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"no checkpoint at {path}: train first, or give the path of a model.pt")
    require_regular_file(path)
    try:
        _check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); check its permissions") from error
    except Exception as error:
        raise InputError(f"{path} cannot be read as a checkpoint: it {_reason(path, error)}") from error


def _check_archive(path: Path) -> None:
    """Compare the check sums of a ZIP archive, which PyTorch writes and does not read, before anything is unpacked.

    Raises:
        ValueError: not a file of PyTorch, flipped bits, or packed content, which could unpack to any size.
    """
    with path.open("rb") as file:
        head = file.read(99)
    if not head.startswith(b"PK"):
        if LEGACY_TORCH not in head:
            raise ValueError("not written by PyTorch")
        return
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("packed content")
        if archive.testzip() is not None:
            raise ValueError("flipped bits")


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, ValueError) and "flipped bits" in str(error):
        return "is damaged (its check sums do not fit): copy or download it again"
    if (found := re.search(r"GLOBAL ([\w.]+) was not an allowed global", str(error))) is not None:
        return f"holds Python objects ({found[1]}), which could run code and are not opened: give a model.pt"
    return describe_file(path)
