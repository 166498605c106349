"""The networks of DiffRect: the one that segments, and the rectifier of its pseudo-labels (Liu et al., MICCAI 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from custom.labels.colours import colour_labels, colour_palette
from custom.networks.encoders import DROPOUT, WIDTHS, UNetEncoder
from custom.networks.latent_denoiser import LatentDenoiser, TimeEmbedding
from custom.networks.latent_diffusion import LatentDiffusion
from custom.networks.training_networks import TrainingNetworks
from custom.networks.unet import UNetDecoder

__all__ = ["DiffRectNetworks", "LabelRectifier", "Reconstruction"]


class Reconstruction(NamedTuple):
    """What a rectifier makes of a label in training.

    Attributes:
        logits: the rectified label, [B, K, H, W].
        latent: prediction of the better label's latent, [B, C, h, w].
        target: the better label's latent, of the same shape; it has no gradient.
    """

    logits: Tensor
    latent: Tensor
    target: Tensor


class LabelRectifier(nn.Module):
    """Moves a label towards what a better one would be, by diffusion in the latent space of a U-Net (DiffRect).

    Labels are coloured and encoded beside their image. An encoder of the image alone adds its features to theirs at
    every resolution. Both know by a time embedding how far the labels are from the better ones (`calibration`). The
    denoiser finds the better label's latent from noise, with the encoded label as condition. The decoder takes that
    latent, and the skips of the encoded label.

    For RGB images and two classes it has 17,468,498 parameters. Images of any size from 16 pixels work; the released
    code needs multiples of 64.

    >>> import torch
    >>> from custom.networks import LabelRectifier
    >>> rectifier = LabelRectifier(num_classes=3)
    >>> images, labels = torch.rand(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    >>> rectifier.rectify(images, labels, calibration=torch.tensor(300.0)).shape
    torch.Size([2, 3, 32, 32])

    Args:
        num_classes: K, with the background.
        in_channels: channels of the images.
        widths: channels of each resolution of encoders and decoder, the finest first.
        dropout: dropout probability of each resolution of the encoders.
        denoiser_widths: channels of the resolutions that the denoiser adds below the coarsest one.
        time_channels: channels of the time embeddings.
        condition_in_down_path: see `LatentDenoiser`.
        diffusion_steps, sampling_steps, sampler, clip_latent: see `LatentDiffusion`.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        widths: Sequence[int] = WIDTHS,
        dropout: Sequence[float] = DROPOUT,
        denoiser_widths: Sequence[int] = (384, 512),
        time_channels: int = 512,
        condition_in_down_path: bool = True,
        diffusion_steps: int = 10,
        sampling_steps: int = 2,
        sampler: str = "ddim",
        clip_latent: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("palette", colour_palette(num_classes))
        self.time_embedding = TimeEmbedding(time_channels)
        self.image_encoder = UNetEncoder(in_channels, widths, dropout, time_channels)
        self.label_encoder = UNetEncoder(in_channels + 3, widths, dropout, time_channels)
        self.denoiser = LatentDenoiser((widths[-1], *denoiser_widths), time_channels, condition_in_down_path)
        self.decoder = UNetDecoder(widths, time_channels=time_channels)
        self.head = nn.Conv2d(widths[0], num_classes, 3, padding=1)
        self.diffusion = LatentDiffusion(diffusion_steps, sampling_steps, sampler, clip_latent)

    def reconstruct(self, images: Tensor, labels: Tensor, better: Tensor, calibration: Tensor) -> Reconstruction:
        """Rectify `labels` in training, where better ones are known and only noise must be taken from their latent.

        Args:
            images: [B, C, H, W] in [0, 1].
            labels: class indices [B, 1, H, W], float.
            better: the same, what the labels should become.
            calibration: distance of the labels from the better ones, in [0, 999], a scalar.
        """
        time = self.time_embedding(calibration.reshape(1))
        image_features = self.image_encoder(images, time)
        features = self._encode(images, labels, image_features, time)
        with torch.no_grad():
            target = self._encode(images, better, image_features, time)[-1].float()
        noisy, steps = self.diffusion.add_noise(target)
        latent = self.denoiser(noisy, features[-1], steps)
        return Reconstruction(self._decode(features, latent, time), latent, target)

    @torch.no_grad()
    def rectify(self, images: Tensor, labels: Tensor, calibration: Tensor) -> Tensor:
        """Logits [B, K, H, W] of rectified labels, sampled from noise, without gradient; arguments of `reconstruct`."""
        time = self.time_embedding(calibration.reshape(1))
        features = self._encode(images, labels, self.image_encoder(images, time), time)
        condition = features[-1]
        noise = torch.randn(condition.shape, device=condition.device)
        latent = self.diffusion.sample(lambda noisy, steps: self.denoiser(noisy, condition, steps), noise)
        return self._decode(features, latent, time)

    def _encode(self, images: Tensor, labels: Tensor, image_features: list[Tensor], time: Tensor) -> list[Tensor]:
        coloured = colour_labels(labels, self.palette)
        return self.label_encoder(torch.cat([images, coloured], dim=1), time, added=image_features)

    def _decode(self, features: list[Tensor], latent: Tensor, time: Tensor) -> Tensor:
        return self.head(self.decoder([*features[:-1], latent], time)[-1])


class DiffRectNetworks(TrainingNetworks):
    """The network that segments, and the rectifier that helps to train it.

    >>> from custom.networks import DiffRectNetworks, LabelRectifier, UNet
    >>> networks = DiffRectNetworks(UNet(num_classes=3), LabelRectifier(num_classes=3))
    >>> networks.inference_network() is networks.segmenter
    True

    Args:
        segmenter: the network that is trained and predicts.
        rectifier: the rectifier of its pseudo-labels, for the same classes.
    """

    def __init__(self, segmenter: nn.Module, rectifier: LabelRectifier) -> None:
        super().__init__(segmenter)
        self.rectifier = rectifier

    @property
    def segmenter(self) -> nn.Module:
        """The network that predicts."""
        return self.deployed
