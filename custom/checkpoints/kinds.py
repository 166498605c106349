"""What a file given as a checkpoint is, from its first bytes: nothing is unpickled."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["LEGACY_TORCH", "describe_content", "describe_file"]

LEGACY_TORCH = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The magic number of `torch.save` before its files were ZIP archives (PyTorch 1.6)."""

_BEGINNINGS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself: run git lfs pull"),
    (b"\x89HDF", "is an HDF5 file, as Keras writes"),
    (b"\x1f\x8b", "is a gzip archive: unpack it"),
    (b"7z\xbc\xaf", "is a 7-Zip archive: unpack it"),
    (b"BZh", "is a bzip2 archive: unpack it"),
    (b"\xfd7zXZ", "is an xz archive: unpack it"),
    (b"Rar!", "is a RAR archive: unpack it"),
    (b"%PDF", "is a PDF document"),
    (b"\x89PNG", "is a PNG picture"),
    (b"\xff\xd8\xff", "is a JPEG picture"),
    (b"II*\x00", "is a TIFF picture"),
    (b"MM\x00*", "is a TIFF picture"),
    (b"\x93NUMPY", "is a NumPy array"),
    (b"GGUF", "is a GGUF model"),
    (b"SQLite format 3", "is a SQLite database"),
)


def describe_file(path: str | os.PathLike[str]) -> str:
    """What the file is, as the end of a sentence that begins with its name.

    Args:
        path: a file that cannot be read as a checkpoint.
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(4096)
    for beginning, words in _BEGINNINGS:
        if head.startswith(beginning):
            return words
    if not head:
        return "is empty"
    if head.startswith(b"PK"):
        return _describe_archive(path)
    if not any(head):
        return "holds nothing but zeros, as a copy that was cut off may"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "is a web page (HTML or XML), as a download that needs a login gives: download the file again"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**27:
        return "is a safetensors file; models of this project are .pt files"
    if head[257:262] == b"ustar":
        return "is a tar archive: unpack it"
    if head.startswith(b"\x08") and re.search(rb"onnx|pytorch|ir_version|graph|tf2onnx|skl2onnx", head):
        return "is an ONNX model, which has no weights that could be trained: give a model.pt"
    if head.startswith(b"\x80"):
        if LEGACY_TORCH in head:
            return "is a file of an old PyTorch that is cut short or holds Python objects: give a model.pt"
        return "is a pickle of Python objects, which could run code and is not opened: give a model.pt"
    if _is_text(head):
        return "is a text file"
    return "is no file that PyTorch writes, or its beginning is damaged"


def _describe_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.split("/", 1)[-1] for name in archive.namelist()]
    except Exception:  # a damaged archive may raise anything
        return "is cut short or damaged: copy or download it again"
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        return "is a TorchScript model, which holds code: give a model.pt of this project"
    if any(name.endswith(("exported_program.json", "archive_format")) for name in names):
        return "is a program exported by torch.export: give a model.pt of this project"
    if any(name.endswith(".npy") for name in names):
        return "is a NumPy archive"
    if "data.pkl" in names:
        return "is damaged, or holds Python objects such as a pickled module, which could run code and are not opened"
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return "is a Keras model"
    return "is a ZIP archive without a model in it: unpack it, or give a model.pt"


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n" for byte in head[:512])


def describe_content(content: Any) -> str:
    """What a readable checkpoint holds, for one that is no model of this project; ends a sentence like `describe_file`.

    Args:
        content: what `torch.load` gave.
    """
    if not isinstance(content, Mapping):
        return f"holds a {type(content).__name__}"
    if {"network", "objects", "trainer"} <= content.keys():
        return "is the state of a stage of a training, from which --resume true continues"
    for name in ("state_dict", "model_state_dict", "net", "network", "weights", "model"):
        if isinstance(content.get(name), Mapping):
            return f"is another project's checkpoint (entries {_first(content)})"
    if content and all(hasattr(value, "shape") for value in content.values()):
        return f"is a plain state dict, of another project or network (entries {_first(content)})"
    return f"holds other entries ({_first(content)})" if content else "holds nothing"


def _first(content: Mapping[Any, Any], most: int = 3) -> str:
    names = ", ".join(repr(str(name))[:60] for name in list(content)[:most])
    return names + (", ..." if len(content) > most else "")
