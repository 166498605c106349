"""The file of a trained network, `model.pt`: writing and reading it."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from custom.checkpoints.files import load_checkpoint, save_atomically
from custom.checkpoints.kinds import describe_content
from custom.checkpoints.weights import check_architecture, check_finite, check_tensors, digest
from custom.errors import InputError, short_reason

__all__ = ["load_model", "load_trained_weights", "model_details", "save_model"]


def save_model(
    network: nn.Module, path: str | os.PathLike, details: dict[str, Any] | None = None, half: bool = False
) -> None:
    """Write all that inference needs, frozen weights and architecture included.

    >>> from tempfile import TemporaryDirectory
    >>> from custom.checkpoints import load_checkpoint
    >>> from custom.networks import UNet, save_model
    >>> with TemporaryDirectory() as folder:
    ...     save_model(UNet(num_classes=3), f"{folder}/model.pt", {"image_size": 224})
    ...     sorted(load_checkpoint(f"{folder}/model.pt"))
    ['architecture', 'checksum', 'details', 'model']

    Args:
        network: the trained network; what only training needs is left out.
        path: the file, {"model", "architecture", "details", "checksum"}.
        details: plain values that describe how it was trained, such as image_size.
        half: store the weights of convolutions and linear layers with 16 bits, for a file of half the size. Biases and
            normalisation, a small part, keep their 32 bits. `load_model` gives a network of 32 bits either way.

    Raises:
        InputError: the weights are not finite, or the file cannot be written.
    """
    network = _for_inference(network)
    content = {"model": network.state_dict(), "architecture": network.architecture, "details": details or {}}
    advice = "train again with a lower learning rate"
    try:
        check_finite(content["model"])
        if half:
            advice = "they are too large for half precision, store them in full"
            content["model"] = {name: _halved(tensor) for name, tensor in content["model"].items()}
            check_finite(content["model"])
    except InputError as error:
        raise InputError(f"{path} is not written: {error}; {advice}") from error
    save_atomically({**content, "checksum": digest(content)}, path)


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.dtype == torch.float32 and tensor.ndim > 1 else tensor


def model_details(path: str | os.PathLike) -> dict[str, Any]:
    """How the network of a `model.pt` was trained, such as image_size.

    >>> from tempfile import TemporaryDirectory
    >>> from custom.networks import UNet, model_details, save_model
    >>> with TemporaryDirectory() as folder:
    ...     save_model(UNet(num_classes=3), f"{folder}/model.pt", {"image_size": 224})
    ...     model_details(f"{folder}/model.pt")
    {'image_size': 224}

    Raises:
        InputError: missing or unreadable file.
    """
    details = _entries(path, "model").get("details", {})
    if not isinstance(details, dict):
        raise InputError(f"{path}: its entry 'details' is a {type(details).__name__}, no named values")
    return details


def load_model(path: str | os.PathLike) -> nn.Module:
    """The network of a `model.pt`, in single precision and evaluation mode, without any download.

    >>> from tempfile import TemporaryDirectory
    >>> import torch
    >>> from custom.networks import UNet, load_model, save_model
    >>> with TemporaryDirectory() as folder:
    ...     save_model(UNet(num_classes=3), f"{folder}/model.pt", {"image_size": 224})
    ...     network = load_model(f"{folder}/model.pt")
    >>> network(torch.rand(1, 3, 224, 224)).shape
    torch.Size([1, 1, 224, 224])

    Raises:
        InputError: missing or unreadable file, or not such a model.
    """
    checkpoint = _entries(path, "model", "architecture")
    architecture, state = checkpoint["architecture"], checkpoint["model"]
    with _about(path):
        check_architecture(architecture)
    name = architecture.get("network", "SemiGDA")  # files from before there were others lack the name
    kind = getattr(importlib.import_module("custom.networks"), str(name), None)
    if not hasattr(kind, "from_architecture"):
        raise InputError(f"{path} holds a network {name!r} that this version does not know: use the version it is from")
    with torch.device("meta"):  # shapes without memory: a wrong width must not take all of it
        sketch = _build(kind, architecture, path)
    _compare(sketch.state_dict(), state, path)
    network = _build(kind, architecture, path)
    _load(network.load_state_dict, state, path)
    return network.eval()


def _build(kind: Any, architecture: dict[str, Any], path: str | os.PathLike) -> nn.Module:
    try:
        return kind.from_architecture(architecture)
    except Exception as error:
        reason = short_reason(error, 200)
        raise InputError(f"{path}: no network can be built from its architecture ({reason})") from error


def _compare(expected: dict[str, torch.Tensor], state: dict[str, torch.Tensor], path: str | os.PathLike) -> None:
    """Compare names, shapes and kinds of numbers."""
    missing = [name for name in expected if name not in state]
    if missing and all(name.startswith("first_stage.") for name in missing):
        raise InputError(f"{path} holds a stage's best weights without their first_stage: give the model.pt of the run")
    if missing:
        raise InputError(f"{path}: weights are missing ({missing[0]}): it is damaged or not written by this project")
    for name, tensor in state.items():
        if name not in expected:
            raise InputError(
                f"{path}: its network has no weights {name[:80]!r}: damaged or not written by this project"
            )
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.is_floating_point() != wanted.is_floating_point():
            raise InputError(
                f"{path}: {name} has shape {tuple(tensor.shape)} and type {tensor.dtype}, its architecture gives "
                f"{tuple(wanted.shape)} and {wanted.dtype}: it is damaged or not written by this project"
            )


def load_trained_weights(network: nn.Module, path: str | os.PathLike) -> None:
    """Start `network` from a `model.pt` or a stage's best weights of the same architecture.

    A `model.pt` fills the network that predicts; what only helps to train it, such as a second network or a second
    decoder, keeps its own weights.

    >>> from tempfile import TemporaryDirectory
    >>> import torch
    >>> from custom.networks import UNet, load_trained_weights, save_model
    >>> trained, network = UNet(seed=0), UNet(seed=1)
    >>> with TemporaryDirectory() as folder:
    ...     save_model(trained, f"{folder}/model.pt")
    ...     load_trained_weights(network, f"{folder}/model.pt")
    >>> torch.equal(network.heads[0].weight, trained.heads[0].weight)
    True

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
        raise InputError(
            f"{path} is not a model file of this project (no entry {wanted}): it {describe_content(checkpoint)}; "
            "give a model.pt"
        )
    with _about(path):
        check_tensors(checkpoint["model"])
        if "checksum" in checkpoint and checkpoint["checksum"] != digest(checkpoint):  # older files have none
            raise InputError("it is damaged (its checksum does not fit): copy or download it again")
    return checkpoint


@contextlib.contextmanager
def _about(path: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _load(load: Any, state: dict[str, torch.Tensor], path: str | os.PathLike) -> None:
    try:
        load(state)
    except (RuntimeError, KeyError, TypeError) as error:
        reason = short_reason(error, 200)
        raise InputError(
            f"{path} was made with another architecture than the configuration asks for ({reason}); "
            "give the method, num_classes, width, adapters and first_stage it was trained with"
        ) from error
