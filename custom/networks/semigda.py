"""The SemiGDA network: two encoders, and one frozen decoder that makes masks from their latents."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from custom.errors import InputError
from custom.first_stage.loading import load_first_stage
from custom.first_stage.model import FirstStage, build_first_stage
from custom.labels.codec import LabelCodec, most_likely
from custom.labels.palette_codec import PaletteCodec, make_label_codec
from custom.networks.blocks import start_from_seed
from custom.networks.deployable import Deployable
from custom.networks.latent_mapper import LatentMapper
from custom.networks.pretrained_mask_encoder import PretrainedMaskEncoder
from custom.networks.skip_adapters import SkipAdapters
from custom.networks.trainable_encoder import TrainableEncoder

__all__ = ["BranchOutputs", "SemiGDA"]

SCALES = (1.0, 0.5, 0.25, 0.125)


class BranchOutputs(NamedTuple):
    """Soft labels of the two branches, each [B, 1, H, W] in [0, K - 1].

    With a palette of more than two classes they are memberships, each [B, K, H, W] that sum to one.

    >>> import torch
    >>> from custom.networks import BranchOutputs
    >>> outputs = BranchOutputs(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8))
    >>> outputs.mask_branch.mean().item()
    1.0
    """

    image_branch: Tensor
    mask_branch: Tensor


class Latents(NamedTuple):
    """Predicted mask latents of the two branches, each [B, C, h, w] in the scaled space, and their skips."""

    image_branch: Tensor
    mask_branch: Tensor
    image_skips: list[Tensor]
    mask_skips: list[Tensor]


class SemiGDA(Deployable):
    """Generative dual alignment for semi-supervised segmentation (SemiGDA, CVPR 2026).

    Image branch: frozen first-stage encoder -> latent mapper -> frozen decoder with the Image adapters, fed by the
    first stage's skips. Mask branch: trainable CNN -> frozen quant_conv -> the same decoder with the Mask adapters, fed
    by the CNN's skips. Both branches go through the decoder as one batch: every frozen operation works on each sample
    alone, so the result equals two passes.

    Trainable are the CNN, the mapper and the adapters; everything of the first stage is frozen and in evaluation mode.
    A pretrained encoder may take the CNN's place, see `PretrainedMaskEncoder`, and the first stage, mapper and decoder
    may work on a smaller image, which such an encoder sees in full size (additions of this project).

    A first stage without a quant_conv (the tiny autoencoders) gets a trainable 1x1 convolution in its place, because
    the CNN's head ends in a LeakyReLU and latents are signed.

    >>> import torch
    >>> from custom.networks import SemiGDA
    >>> tiny = {"_class_name": "AutoencoderTiny"}  # random weights; a folder or hub id loads pretrained ones
    >>> network = SemiGDA(tiny, num_classes=3, width=8, seed=0).eval()
    >>> soft_labels = network(torch.rand(2, 3, 32, 32))
    >>> soft_labels.shape
    torch.Size([2, 1, 32, 32])
    >>> network.label_codec.harden(soft_labels).unique().tolist() <= [0.0, 1.0, 2.0]
    True

    Args:
        first_stage: a `FirstStage`, or what `load_first_stage` accepts.
        num_classes: K, with the background.
        width: None for a CNN as wide as the first stage; a number w for a CNN of widths (w, 2w, 4w, 4w, ...).
        mapper_width: channels of the latent mapper's first unit.
        adapters: "both", "image", "mask" or "none": which branches have skip adapters. A branch without them uses the
            plain decoder.
        adapter_init: "default" or "identity", see `SkipAdapters`.
        dropout: dropout of the CNN's head.
        latent_noise: "unscaled" (release: the posterior's standard deviation is not multiplied by the scaling factor
            though the mean is), "scaled" or "off". Image branch, training only, with probability 1/2 per batch.
        label_divisor: see `LabelCodec`.
        label_range: see `LabelCodec`.
        encoder: the Mask branch's encoder: "none" for the CNN of the release, or a name of `build_encoder`.
        encoder_weights: weights that such an encoder starts from, see `load_encoder_weights`; they replace what the
            seed drew.
        first_stage_scale: 1, 1/2, 1/4 or 1/8: the side of the image that first stage, mapper, decoder and the CNN work
            on, over that of the image. It is the mean over squares of pixels, which for 1/2 equals bilinear resizing
            and can be exported; that of the label images, the targets of the alignment, likewise. The decoded soft
            labels are enlarged bilinearly.
        label_code: "ordinal" for grey levels (release), or "palette" for a colour per class, see `make_label_codec`.
        image_branch_weight: weight of the Image branch in the network's prediction, from 0 to 1; 1/2 is the mean of the
            release. With 0 `soft_labels` and `forward` leave the Image branch out, at half the cost, for a pretrained
            encoder whose branch is better than the mean (an addition of this project).
        subfolder: passed to `load_first_stage`.
        seed: seed of the initial weights; None draws them from the random numbers as they are.

    Attributes:
        hard_labels: whether `forward` gives whole class numbers only, which must not be interpolated: those of the
            largest mean membership, with a palette of more than two classes.

    Raises:
        InputError: an argument is not among the choices, or the first stage cannot be loaded.
    """

    branches = ("mean", "image_branch", "mask_branch")

    def __init__(
        self,
        first_stage: FirstStage | str | dict[str, Any],
        num_classes: int = 2,
        width: int | None = None,
        mapper_width: int = 32,
        adapters: str = "both",
        adapter_init: str = "default",
        dropout: float = 0.1,
        latent_noise: str = "unscaled",
        label_divisor: str = "K-1",
        label_range: str = "signed",
        encoder: str = "none",
        encoder_weights: str | None = None,
        first_stage_scale: float = 1.0,
        label_code: str = "ordinal",
        image_branch_weight: float = 0.5,
        subfolder: str | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        start_from_seed(seed)
        if adapters not in ("both", "image", "mask", "none"):
            raise InputError(f"adapters {adapters!r}: choose 'both', 'image', 'mask' or 'none'")
        if latent_noise not in ("unscaled", "scaled", "off"):
            raise InputError(f"latent_noise {latent_noise!r}: choose 'unscaled', 'scaled' or 'off'")
        if first_stage_scale not in SCALES:
            raise InputError(f"first_stage_scale {first_stage_scale}: choose one of {', '.join(map(str, SCALES))}")
        if not isinstance(first_stage, FirstStage):
            first_stage = load_first_stage(first_stage, subfolder)
        if not 0 <= image_branch_weight <= 1:
            raise InputError(f"image_branch_weight {image_branch_weight}: give a share from 0 to 1")
        self.latent_noise = latent_noise
        self.image_branch_weight = image_branch_weight
        self.first_stage = first_stage
        self.label_codec = make_label_codec(label_code, num_classes, divisor=label_divisor, value_range=label_range)
        self.hard_labels = isinstance(self.label_codec, PaletteCodec)
        channels, levels = first_stage.latent_channels, first_stage.levels
        widths = first_stage.encoder_widths if width is None else [width * min(2**level, 4) for level in range(levels)]
        self.reduction = round(1 / first_stage_scale)
        self.encoder_sees_all = encoder != "none"
        self.trainable_encoder = (
            PretrainedMaskEncoder(encoder, widths, 2 * channels, dropout, self.reduction, encoder_weights)
            if self.encoder_sees_all
            else TrainableEncoder(widths, 2 * channels, dropout)
        )
        self.latent_mapper = LatentMapper(channels, mapper_width)
        has_quant_conv = getattr(first_stage.autoencoder, "quant_conv", None) is not None
        self.latent_head = None if has_quant_conv else nn.Conv2d(2 * channels, channels, 1)
        decoder_widths = first_stage.decoder_widths
        self.image_adapters = (
            SkipAdapters(decoder_widths, first_stage.encoder_widths, adapter_init)
            if adapters in ("both", "image")
            else None
        )
        self.mask_adapters = (
            SkipAdapters(decoder_widths, widths, adapter_init) if adapters in ("both", "mask") else None
        )
        self.architecture = {
            "network": "SemiGDA",
            "first_stage": first_stage.architecture,
            "num_classes": num_classes,
            "width": width,
            "mapper_width": mapper_width,
            "adapters": adapters,
            "adapter_init": adapter_init,
            "dropout": dropout,
            "latent_noise": latent_noise,
            "label_divisor": label_divisor,
            "label_range": label_range,
            "encoder": encoder,
            "first_stage_scale": first_stage_scale,
            "label_code": label_code,
            "image_branch_weight": image_branch_weight,
        }

    @classmethod
    def from_architecture(cls, architecture: dict[str, Any]) -> Self:
        """The network that `architecture` describes, with random weights and without any download."""
        arguments = {key: value for key, value in architecture.items() if key != "network"}
        return cls(**{**arguments, "first_stage": build_first_stage(architecture["first_stage"])})

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of the Mask branch's encoder and, without a quant_conv, of its 1x1 convolution."""
        head = [] if self.latent_head is None else list(self.latent_head.parameters())
        return [*self.trainable_encoder.parameters(), *head]

    @property
    def num_classes(self) -> int:
        """K, with the background."""
        return self.label_codec.num_classes

    def check_size(self, images: Tensor) -> None:
        """Raise `InputError` unless height and width fit the first stage."""
        self.first_stage.check_size(images, self.reduction)

    def _reduced(self, images: Tensor) -> Tensor:
        """Images of the size that the first stage works on."""
        self.check_size(images)
        return images if self.reduction == 1 else avg_pool2d(images, self.reduction)

    def encode_labels(self, labels: Tensor, codec: LabelCodec | None = None) -> Tensor:
        """Class indices [B, 1, H, W] -> scaled latent of the label image, the target of the alignment (no gradient).

        Args:
            labels: class indices.
            codec: what makes the label image; None for the network's own.
        """
        return self.first_stage.encode(self._reduced((codec or self.label_codec).encode(labels))).mean

    def encode_images(self, images: Tensor, with_noise: bool = False) -> Latents:
        """Images in [0, 1], [B, 3 or 1, H, W] -> the mask latents that both branches predict, and the skips."""
        signed = self._signed(images)
        reduced = self._reduced(signed)
        image_latent, image_skips = self._image_latent(reduced, with_noise)
        mask_latent, mask_skips = self._mask_latent(signed, reduced)
        return Latents(image_latent, mask_latent, image_skips, mask_skips)

    @staticmethod
    def _signed(images: Tensor) -> Tensor:
        """Images [B, 3 or 1, H, W] in [0, 1] -> [B, 3, H, W] in [-1, 1]."""
        return 2 * (images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images) - 1

    def _image_latent(self, reduced: Tensor, with_noise: bool = False) -> tuple[Tensor, list[Tensor]]:
        posterior = self.first_stage.encode(reduced)
        latent = self._add_noise(posterior.mean, posterior.log_variance) if with_noise else posterior.mean
        return self.latent_mapper(latent), posterior.skips

    def _mask_latent(self, signed: Tensor, reduced: Tensor) -> tuple[Tensor, list[Tensor]]:
        moments, skips = self.trainable_encoder(signed if self.encoder_sees_all else reduced)
        return self.first_stage.quantise(moments) if self.latent_head is None else self.latent_head(moments), skips

    def _add_noise(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Gaussian noise of the posterior's width, for the whole batch or not at all (one coin per call)."""
        if self.latent_noise == "off" or torch.rand(()) >= 0.5:
            return mean
        deviation = torch.exp(0.5 * log_variance)
        if self.latent_noise == "unscaled":
            deviation = deviation / self.first_stage.scaling_factor
        return mean + deviation * torch.randn_like(mean)

    def decode_latents(self, latents: Latents) -> BranchOutputs:
        """Decode the mask latents of both branches in one pass of the frozen decoder."""

        def merge(level: int, features: Tensor) -> Tensor:
            image_features, mask_features = features.chunk(2)
            if self.image_adapters is not None:
                image_features = self.image_adapters(level, image_features, latents.image_skips[level])
            if self.mask_adapters is not None:
                mask_features = self.mask_adapters(level, mask_features, latents.mask_skips[level])
            return torch.cat([image_features, mask_features])

        masks = self.first_stage.decode(torch.cat([latents.image_branch, latents.mask_branch]), merge)
        return BranchOutputs(*self._as_soft_labels(masks).chunk(2))

    def _as_soft_labels(self, masks: Tensor) -> Tensor:
        """Masks that the decoder painted -> soft labels of the image's size."""
        soft_labels = self.label_codec.decode(masks)
        if self.reduction == 1:
            return soft_labels
        return interpolate(soft_labels, scale_factor=self.reduction, mode="bilinear", align_corners=False)

    def predict_branches(self, images: Tensor) -> BranchOutputs:
        """Images in [0, 1], [B, 3 or 1, H, W] -> `BranchOutputs`; latent noise in training mode only."""
        return self.decode_latents(self.encode_images(images, with_noise=self.training))

    def forward(self, images: Tensor) -> Tensor:
        """Images in [0, 1], [B, 3 or 1, H, W] -> soft ordinal labels [B, 1, H, W] in [0, K - 1], see `soft_labels`."""
        return most_likely(self.soft_labels(images))

    def soft_labels(self, images: Tensor) -> Tensor:
        """Images as above -> soft labels of the network, shaped like those in `BranchOutputs`, see `combine`."""
        if self.image_branch_weight > 0:
            return self.combine(self.predict_branches(images))
        return self._as_soft_labels(self.generate(images))

    def generate(self, images: Tensor) -> Tensor:
        """Images as above -> the mask that the Mask branch paints, [B, 3, h, w], about [-1, 1] and not clamped.

        It has the size that the first stage works on.
        """
        signed = self._signed(images)
        latent, skips = self._mask_latent(signed, self._reduced(signed))
        adapters = self.mask_adapters

        def merge(level: int, features: Tensor) -> Tensor:
            return features if adapters is None else adapters(level, features, skips[level])

        return self.first_stage.decode(latent, merge)

    def combine(self, branches: BranchOutputs) -> Tensor:
        """Soft labels of the branches -> those of the network, of the same shape: their weighted mean."""
        weight = self.image_branch_weight
        return weight * branches.image_branch + (1 - weight) * branches.mask_branch

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """The state without the frozen first stage: what a training checkpoint needs."""
        return {key: value for key, value in self.state_dict().items() if not key.startswith("first_stage.")}

    def load_trainable_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load what `trainable_state_dict` gave; every trainable key must be there and fit."""
        missing, unexpected = self.load_state_dict(state, strict=False)
        missing = [key for key in missing if not key.startswith("first_stage.")]
        if missing or unexpected:
            raise RuntimeError(f"missing {missing[:2]}, unexpected {list(unexpected)[:2]}")
