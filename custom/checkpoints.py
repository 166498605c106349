"""Files that hold networks: written atomically, read without unpickling code."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from custom import networks
from custom.errors import InputError

__all__ = ["load_checkpoint", "load_model", "load_trained_weights", "model_details", "save_atomically", "save_model"]


def save_atomically(content: Any, path: str | os.PathLike) -> None:
    """`torch.save` through a temporary file in the same folder: `path` holds the old content or the new, never half.

    Raises:
        InputError: the content could not be written (disk full, folder not writable); `path` is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        kept = (
            "the last good one is kept; free some space and go on with --resume true"
            if path.exists()
            else "is it full?"
        )
        raise InputError(f"cannot save {path} ({' '.join(str(error).split())[:200]}): {kept}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def load_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Tensors and plain values of a checkpoint, on the CPU.

    Raises:
        InputError: the file is missing or is no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no checkpoint at {path}: train first, or give the path of a model.pt")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{path} cannot be read as a checkpoint ({type(error).__name__}): is it cut short?") from error


def save_model(network: nn.Module, path: str | os.PathLike, details: dict[str, Any] | None = None) -> None:
    """Write all that inference needs, frozen weights and architecture included.

    Args:
        network: the trained network; what only training needs is left out.
        path: the file, {"model", "architecture", "details"}.
        details: plain values that describe how it was trained, such as image_size.
    """
    network = _for_inference(network)
    content = {"model": network.state_dict(), "architecture": network.architecture, "details": details or {}}
    save_atomically(content, path)


def model_details(path: str | os.PathLike) -> dict[str, Any]:
    """How the network of a `model.pt` was trained, such as image_size.

    Raises:
        InputError: missing or unreadable file.
    """
    return _entries(path, "model").get("details", {})


def load_model(path: str | os.PathLike) -> nn.Module:
    """The network of a `model.pt`, in evaluation mode, without any download.

    Raises:
        InputError: missing or unreadable file, or not such a model.
    """
    checkpoint = _entries(path, "model", "architecture")
    name = checkpoint["architecture"].get("network", "SemiGDA")  # files from before there were others do not say
    kind = getattr(networks, str(name), None)
    if not hasattr(kind, "from_architecture"):
        raise InputError(f"{path} holds a network {name!r} that this version does not know: use the version it is from")
    network = kind.from_architecture(checkpoint["architecture"])
    _load(network.load_state_dict, checkpoint["model"], path)
    return network.eval()


def load_trained_weights(network: nn.Module, path: str | os.PathLike) -> None:
    """Start `network` from a `model.pt` or a stage's best weights of the same architecture.

    A `model.pt` fills the network that predicts; what only helps to train it, such as a second network or a second
    decoder, keeps its own weights.

    Raises:
        InputError: missing or unreadable file, not such a file, or another architecture.
    """
    state = _entries(path, "model")["model"]
    predicting = _for_inference(network)
    if state.keys() <= predicting.state_dict().keys():
        network = predicting
    if hasattr(network, "load_trainable_state_dict"):
        state = {key: value for key, value in state.items() if not key.startswith("first_stage.")}
        _load(network.load_trainable_state_dict, state, path)
    else:
        _load(network.load_state_dict, state, path)


def _for_inference(network: nn.Module) -> nn.Module:
    return network.inference_network() if hasattr(network, "inference_network") else network


def _entries(path: str | os.PathLike, *names: str) -> dict[str, Any]:
    checkpoint = load_checkpoint(path)
    if not isinstance(checkpoint, dict) or not set(names) <= checkpoint.keys():
        wanted = " and ".join(f"'{name}'" for name in names)
        raise InputError(f"{path} is not a model file of this project (no entry {wanted}): give a model.pt")
    return checkpoint


def _load(load: Any, state: dict[str, torch.Tensor], path: str | os.PathLike) -> None:
    try:
        load(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path} was made with another architecture than the configuration asks for ({reason}); "
            "give the method, num_classes, width, adapters and first_stage it was trained with"
        ) from error
