"""Checks of weights that come from a file or go into one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from custom.errors import InputError

__all__ = ["check_architecture", "check_finite", "check_tensors", "digest"]

LARGEST_NUMBER = 65_536  # widths and sizes in an architecture; the widest known first stage has 512
LARGEST_COUNT = 64  # entries of a list, residual blocks per level
MOST_CLASSES = 256
DEEPEST = 4
COUNTS = ("layers_per_block", "num_encoder_blocks", "num_decoder_blocks", "encoder_layers_per_block")


def check_finite(state: Mapping[str, Any]) -> None:
    """Refuse weights that are not numbers.

    Raises:
        InputError: a tensor holds nan or infinity; the message names it.
    """
    for name, tensor in state.items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(f"the weights of {name} are not finite numbers")


def check_tensors(state: Any) -> None:
    """Refuse what is no plain state dict, before anything is computed with it.

    Raises:
        InputError: not a mapping of names to dense tensors whose values lie in the file, or not finite.
    """
    if not isinstance(state, Mapping):
        raise InputError(f"the weights are a {type(state).__name__}, no named tensors")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(f"the entry {str(name)[:80]!r} of the weights is a {type(tensor).__name__}, no tensor")
        plain = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
        if not plain or tensor.is_complex():
            raise InputError(f"the weights of {name} are of a kind that networks here do not have ({tensor.dtype})")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(f"the weights of {name} claim more values than the file holds")
    check_finite(state)


def check_architecture(architecture: Any) -> None:
    """Refuse a description of a network that cannot be one of this project, before it is built.

    Raises:
        InputError: not a dictionary of plain values, or a number out of range; the message names the key.
    """
    if not isinstance(architecture, dict):
        raise InputError(f"the architecture is a {type(architecture).__name__}, no named values")
    _check_value("architecture", architecture, 0)
    classes = architecture.get("num_classes", 2)
    if isinstance(classes, bool) or not isinstance(classes, int) or not 2 <= classes <= MOST_CLASSES:
        raise InputError(f"architecture: num_classes is {str(classes)[:40]}; 2 to {MOST_CLASSES} are possible")


def _check_value(name: str, value: Any, depth: int) -> None:
    if isinstance(value, (dict, list, tuple)):
        if depth == DEEPEST or len(value) > LARGEST_COUNT:
            raise InputError(f"architecture: {name} is nested too deeply or too long")
        pairs = value.items() if isinstance(value, dict) else ((name, each) for each in value)
        for key, each in pairs:
            if not isinstance(key, str):
                raise InputError(f"architecture: {str(key)[:40]!r} is no name")
            _check_value(key, each, depth + 1)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        largest = LARGEST_COUNT if name in COUNTS else LARGEST_NUMBER
        if not abs(value) <= largest:  # nan too
            raise InputError(f"architecture: {name} is {str(value)[:40]}; at most {largest} is possible")
    elif value is not None and not isinstance(value, (str, bool)):
        raise InputError(f"architecture: {name} is a {type(value).__name__}, no plain value")


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 over the architecture, details and tensors of a model, as hexadecimal digits."""
    found = hashlib.sha256()
    plain = {name: content.get(name) for name in ("architecture", "details")}
    found.update(json.dumps(plain, sort_keys=True, default=repr).encode())
    for name, tensor in sorted(content["model"].items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():
            found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()
