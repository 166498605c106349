"""The frozen first stage: an autoencoder whose latent space images and masks share (SemiGDA, section 3)."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import Tensor, nn

from custom.errors import InputError, short_reason
from custom.first_stage.taef2 import AutoencoderTaef2

__all__ = ["FirstStage", "KLFirstStage", "Posterior", "TinyFirstStage", "build_first_stage"]

# The smallest log-variance that diffusers' diagonal Gaussian allows: what a deterministic encoder reports.
MINIMUM_LOG_VARIANCE = -30.0

MOST_PARAMETERS = 500_000_000  # Stable Diffusion's first stage has 84 million
MOST_LEVELS = 8
MOST_BLOCKS = 16
LARGEST_SIZE = 8192
SIZES = {
    "block_out_channels",
    "decoder_block_out_channels",
    "encoder_block_out_channels",
    "in_channels",
    "latent_channels",
    "layers_per_block",
    "norm_num_groups",
    "num_decoder_blocks",
    "num_encoder_blocks",
    "out_channels",
}

SkipMerge = Callable[[int, Tensor], Tensor]


class Posterior(NamedTuple):
    """The first stage's output for a batch of images.

    mean: latent mean in the scaled space, [B, latent_channels, H / downsampling, W / downsampling].
    log_variance: its log-variance in the scaled space, same shape.
    skips: one feature map for each resolution, the finest first, [B, encoder_widths[l], H / 2^l, W / 2^l].
    """

    mean: Tensor
    log_variance: Tensor
    skips: list[Tensor]


class FirstStage(nn.Module, ABC):
    """A frozen autoencoder, always in evaluation mode, with taps in the encoder and entries in the decoder.

    Levels are counted from the finest resolution: level l works at 1 / 2^l of the image size. Images go in and come
    out as RGB in [-1, 1].

    >>> import torch
    >>> from custom.first_stage import build_first_stage
    >>> first_stage = build_first_stage({"_class_name": "AutoencoderTiny"})
    >>> posterior = first_stage.encode(2 * torch.rand(1, 3, 32, 32) - 1)
    >>> posterior.mean.shape, first_stage.decode(posterior.mean).shape
    (torch.Size([1, 4, 4, 4]), torch.Size([1, 3, 32, 32]))

    Attributes:
        latent_channels: number of latent channels.
        encoder_widths: channels of the encoder's tap at each level.
        decoder_widths: channels at the decoder's entry of each level.
        scaling_factor: latents of the autoencoder times this number have about unit variance.
        shift_factor: what is subtracted from the latents before scaling.
        architecture: a dictionary of plain values from which `build_first_stage` makes the same module again.
    """

    latent_channels: int
    encoder_widths: tuple[int, ...]
    decoder_widths: tuple[int, ...]

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        config = autoencoder.config
        self.scaling_factor = float(config.scaling_factor)
        self.shift_factor = float(getattr(config, "shift_factor", None) or 0.0)
        self.latent_channels = int(config.latent_channels)
        arguments = inspect.signature(type(autoencoder).__init__).parameters
        self.architecture = {"_class_name": type(autoencoder).__name__} | {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in config.items()
            if key in arguments  # diffusers adds entries that it warns of when they come back as arguments
        }

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return len(self.encoder_widths)

    @property
    def downsampling(self) -> int:
        """Image size over latent size."""
        return 2 ** (self.levels - 1)

    def train(self, mode: bool = True) -> FirstStage:
        """Stay in evaluation mode whatever the surrounding network does."""
        return super().train(False)

    def check_size(self, images: Tensor, reduction: int = 1) -> None:
        """Raise `InputError` unless height and width are multiples of the downsampling factor.

        Args:
            images: [..., H, W].
            reduction: by how much their sides are divided before the first stage sees them.
        """
        size, factor = tuple(images.shape[-2:]), self.downsampling * reduction
        if any(length % factor or length == 0 for length in size):
            fitting = [max(1, round(length / factor)) * factor for length in size]
            raise InputError(
                f"image size {size[0]} x {size[1]} does not fit the first stage: both sides must be multiples of "
                f"{factor}, for example {fitting[0]} x {fitting[1]}; set image_size accordingly"
            )

    @torch.no_grad()
    def encode(self, images: Tensor) -> Posterior:
        """Encode RGB images in [-1, 1], [B, 3, H, W]; no gradient is recorded.

        Plain `no_grad`, not inference mode: the skips feed trainable adapters, which save them for backward.
        """
        self.check_size(images)
        mean, log_variance, skips = self._encode(images)
        scaled_log_variance = log_variance + 2 * torch.log(torch.tensor(self.scaling_factor)).item()
        return Posterior((mean - self.shift_factor) * self.scaling_factor, scaled_log_variance, skips)

    def decode(self, latents: Tensor, merge: SkipMerge | None = None) -> Tensor:
        """Decode scaled latents to RGB images, about [-1, 1] and not clamped, in float32.

        Args:
            latents: [B, latent_channels, h, w] in the scaled space. Gradients pass through to them.
            merge: called as `merge(level, features)` after the first residual block of every level, from the coarsest
                to the finest; what it returns takes the features' place. None leaves the pretrained decoder as it is.
        """
        return self._decode(latents / self.scaling_factor + self.shift_factor, merge or (lambda _level, h: h))

    @abstractmethod
    def quantise(self, moments: Tensor) -> Tensor | None:
        """The frozen mean half of the autoencoder's 1x1 `quant_conv` on encoder moments, scaled; None without one."""

    @abstractmethod
    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]: ...

    @abstractmethod
    def _decode(self, latents: Tensor, merge: SkipMerge) -> Tensor: ...


class KLFirstStage(FirstStage):
    """diffusers' `AutoencoderKL`, the first stage of Stable Diffusion.

    Taps are the outputs of the last residual block of each encoder level, before its downsampling and, at the
    coarsest level, before the middle block (release: the pop order of its skip list). The entry of a decoder level is
    the output of its first residual block.
    """

    def __init__(self, autoencoder: AutoencoderKL) -> None:
        super().__init__(autoencoder)
        config = autoencoder.config
        known = {"DownEncoderBlock2D", "UpDecoderBlock2D"}
        unknown = (set(config.down_block_types) | set(config.up_block_types)) - known
        if unknown:
            raise InputError(f"first stage: block types {sorted(unknown)} are not supported, only {sorted(known)}")
        levels = len(config.block_out_channels)
        if len(config.down_block_types) != levels or len(config.up_block_types) != levels:
            raise InputError(
                f"first stage: {levels} block_out_channels, but {len(config.down_block_types)} down_block_types and "
                f"{len(config.up_block_types)} up_block_types; give as many of each"
            )
        self.encoder_widths = self.decoder_widths = tuple(config.block_out_channels)

    def quantise(self, moments: Tensor) -> Tensor | None:
        """Frozen `quant_conv` on CNN moments [B, 2 * latent_channels, h, w] -> scaled latents (release, not paper)."""
        if self.autoencoder.quant_conv is None:
            return None
        mean = self.autoencoder.quant_conv(moments).chunk(2, dim=1)[0]
        return (mean - self.shift_factor) * self.scaling_factor

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        encoder = self.autoencoder.encoder
        h = encoder.conv_in(images)
        skips = []
        for block in encoder.down_blocks:
            for resnet in block.resnets:
                h = resnet(h, None)
            skips.append(h)
            for downsampler in block.downsamplers or ():
                h = downsampler(h)
        h = encoder.mid_block(h)
        moments = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(h)))
        if self.autoencoder.quant_conv is not None:
            moments = self.autoencoder.quant_conv(moments)
        mean, log_variance = moments.chunk(2, dim=1)
        return mean, log_variance.clamp(MINIMUM_LOG_VARIANCE, 20.0), skips

    def _decode(self, latents: Tensor, merge: SkipMerge) -> Tensor:
        decoder = self.autoencoder.decoder
        if self.autoencoder.post_quant_conv is not None:
            latents = self.autoencoder.post_quant_conv(latents)
        h = decoder.mid_block(decoder.conv_in(latents))
        for level, block in zip(reversed(range(self.levels)), decoder.up_blocks, strict=True):
            for index, resnet in enumerate(block.resnets):
                h = resnet(h, None)
                if index == 0:
                    h = merge(level, h)
            for upsampler in block.upsamplers or ():
                h = upsampler(h)
        return _in_full_precision(nn.Sequential(decoder.conv_norm_out, decoder.conv_act, decoder.conv_out), h)


class TinyFirstStage(FirstStage):
    """diffusers' `AutoencoderTiny` (TAESD) and its relative taef2: deterministic, a sequence of plain layers.

    The tap of a level is the output of its last encoder block; the entry is the output of its first decoder block.
    """

    def __init__(self, autoencoder: AutoencoderTiny) -> None:
        super().__init__(autoencoder)
        config = autoencoder.config
        self.encoder_widths = tuple(config.encoder_block_out_channels)
        self.decoder_widths = tuple(reversed(config.decoder_block_out_channels))

    def quantise(self, moments: Tensor) -> Tensor | None:
        """None: this kind of autoencoder has no `quant_conv`."""
        return None

    def _encode(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        h = (images + 1) / 2
        skips: list[Tensor] = []
        last_block: Tensor | None = None
        for layer in self.autoencoder.encoder.layers:
            if not isinstance(layer, AutoencoderTinyBlock) and last_block is not None:
                skips.append(last_block)  # a bare convolution after blocks closes a level
                last_block = None
            h = layer(h)
            if isinstance(layer, AutoencoderTinyBlock):
                last_block = h
        return h, torch.full_like(h, MINIMUM_LOG_VARIANCE), skips

    def _decode(self, latents: Tensor, merge: SkipMerge) -> Tensor:
        *layers, conv_out = self.autoencoder.decoder.layers
        h = 3 * torch.tanh(latents / 3)
        level, entered = self.levels - 1, False
        for layer in layers:
            h = layer(h)
            if isinstance(layer, nn.Upsample):
                level, entered = level - 1, False
            elif isinstance(layer, AutoencoderTinyBlock) and not entered:
                h, entered = merge(level, h), True
        return 2 * _in_full_precision(conv_out, h) - 1


def _in_full_precision(module: nn.Module, h: Tensor) -> Tensor:
    """Run the last layers in float32 (or wider) even under autocast: the pseudo-label threshold is finer than bf16."""
    with torch.autocast(h.device.type, enabled=False):
        return module(h if h.dtype == torch.float64 else h.float())


def build_first_stage(architecture: dict[str, Any]) -> FirstStage:
    """A first stage with random weights from its configuration alone.

    >>> from custom.first_stage import build_first_stage
    >>> build_first_stage({"_class_name": "AutoencoderTiny"}).downsampling
    8

    Args:
        architecture: a diffusers configuration: `_class_name` ("AutoencoderKL", "AutoencoderTiny" or
            "AutoencoderTaef2") and that class's arguments.

    Raises:
        InputError: the class is unknown or does not accept the arguments.
    """
    kinds = {
        "AutoencoderKL": (AutoencoderKL, KLFirstStage),
        "AutoencoderTiny": (AutoencoderTiny, TinyFirstStage),
        "AutoencoderTaef2": (AutoencoderTaef2, TinyFirstStage),
    }
    name = architecture.get("_class_name", "AutoencoderKL")
    if not isinstance(name, str) or name not in kinds:
        raise InputError(f"first stage: unknown autoencoder class {str(name)[:80]!r}; known are {', '.join(kinds)}")
    autoencoder_class, first_stage_class = kinds[name]
    _check_configuration(architecture)
    arguments = {key: value for key, value in architecture.items() if not key.startswith("_")}
    try:
        with torch.device("meta"):  # shapes without memory: a wrong width must not take all of it
            sketch = first_stage_class(autoencoder_class.from_config(arguments))
        if (size := sum(parameter.numel() for parameter in sketch.parameters())) > MOST_PARAMETERS:
            raise InputError(f"it would have {size:,} parameters, {MOST_PARAMETERS:,} are possible")
        return first_stage_class(autoencoder_class.from_config(arguments))
    except Exception as error:
        reason = short_reason(error)
        raise InputError(f"first stage: {name} cannot be built from the configuration given: {reason}") from error


def _check_configuration(architecture: dict[str, Any]) -> None:
    """Refuse values that no autoencoder has and that its constructor would take, or take hours for.

    Raises:
        InputError: the message names the key.
    """
    for key, value in architecture.items():
        values = value if isinstance(value, (list, tuple)) else (value,)
        if len(values) > MOST_LEVELS:
            raise InputError(f"first stage: {key} has {len(values)} entries; at most {MOST_LEVELS} are possible")
        for each in values if key in SIZES else ():
            largest = MOST_BLOCKS if "block" in key and "channels" not in key else LARGEST_SIZE
            if isinstance(each, bool) or not isinstance(each, int) or not 1 <= each <= largest:
                raise InputError(f"first stage: {key} is {str(value)[:80]}; give whole numbers from 1 to {largest}")
    factor = architecture.get("scaling_factor", 1.0)
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor < math.inf:
        raise InputError(f"first stage: scaling_factor is {str(factor)[:80]}; give a number above 0")
