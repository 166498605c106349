"""Write a trained autoencoder as a first stage."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from torch import Tensor

from custom.errors import InputError, short_reason

__all__ = ["FirstStageSaver", "save_first_stage"]


@torch.no_grad()
def save_first_stage(
    autoencoder: AutoencoderKL, folder: str | os.PathLike, images: Iterable[Tensor], half: bool = True
) -> None:
    """Write a folder that diffusers' `from_pretrained` and `load_first_stage` read.

    The scaling factor becomes one over the standard deviation of the latents of `images`, as Stable Diffusion's.

    >>> from tempfile import TemporaryDirectory
    >>> import torch
    >>> from diffusers import AutoencoderKL
    >>> from custom.first_stage import load_first_stage, save_first_stage
    >>> autoencoder = AutoencoderKL(block_out_channels=(8,), norm_num_groups=8)
    >>> with TemporaryDirectory() as folder:
    ...     save_first_stage(autoencoder, folder, images=[torch.rand(2, 3, 16, 16)])
    ...     load_first_stage(folder).latent_channels
    4

    Args:
        autoencoder: the trained autoencoder.
        folder: where to write `config.json` and `diffusion_pytorch_model.safetensors`.
        images: batches of images in [0, 1], [B, 3, H, W].
        half: store float16, half the size; it is used in float32 again.

    Raises:
        InputError: the folder cannot be written.
    """
    device = next(autoencoder.parameters()).device
    autoencoder.eval()
    latents = [autoencoder.encode(2 * batch.to(device) - 1).latent_dist.mean.flatten() for batch in images]
    deviation = torch.cat(latents).std().item()
    autoencoder.register_to_config(scaling_factor=round(1 / deviation, 5))
    stored = copy.deepcopy(autoencoder).half() if half else autoencoder
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)  # diffusers only logs that a file is in the way
        stored.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or short_reason(error)
        raise InputError(f"cannot write the first stage to {folder}: {reason}") from error


class FirstStageSaver:
    """Saves the result of a training as the folder `first_stage` of its run.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import torch
    >>> from diffusers import AutoencoderKL
    >>> from custom.first_stage import FirstStageSaver, load_first_stage
    >>> save = FirstStageSaver(validation=[{"image": torch.rand(2, 3, 16, 16)}])
    >>> with TemporaryDirectory() as folder:
    ...     save(AutoencoderKL(block_out_channels=(8,), norm_num_groups=8), Path(folder), {})
    ...     load_first_stage(f"{folder}/first_stage").latent_channels
    4

    Args:
        validation: batches with "image", whose latents decide the scaling factor.
        half: see `save_first_stage`.
    """

    def __init__(self, validation: Iterable[Mapping[str, Tensor]], half: bool = True) -> None:
        self.validation = validation
        self.half = half

    def __call__(self, network: AutoencoderKL, folder: Path, details: Mapping[str, Any]) -> None:
        """Write `folder / "first_stage"`; the details are not kept."""
        save_first_stage(network, folder / "first_stage", (batch["image"] for batch in self.validation), self.half)
