"""The networks of GenericSSL: one encoder, and three decoders of which one denoises labels (NeurIPS 2023)."""

from __future__ import annotations

import torch
from monai.networks import one_hot
from torch import Tensor, nn
from torch.nn.functional import interpolate

from custom.labels.ignored import clear_ignored
from custom.networks.blocks import ConvolutionBlock
from custom.networks.encoders import UNetEncoder
from custom.networks.latent_denoiser import TimeEmbedding
from custom.networks.latent_diffusion import LatentDiffusion
from custom.networks.training_networks import TrainingNetworks
from custom.networks.unet import UNet, UNetDecoder

__all__ = ["GenericSSLNetworks"]

STEM_CHANNELS = 16


class TimeProjection(nn.Sequential):
    """A time embedding [B, time_channels] -> what it adds to features, [B, channels, 1, 1]."""

    def __init__(self, time_channels: int, channels: int) -> None:
        super().__init__(nn.SiLU(), nn.Linear(time_channels, channels), nn.Unflatten(1, (channels, 1, 1)))


class GenericSSLNetworks(TrainingNetworks):
    """A U-Net, whose decoder is theta, and beside it a stem for noisy labels and two more decoders, xi and psi.

    Theta predicts. Psi learns from labelled images. Xi takes noise from label maps x_t, which go with their image
    through a stem of their own and then through the rest of the U-Net's encoder: x_t = sqrt(abar_t) x_0 +
    sqrt(1 - abar_t) noise, with x_0 = 2 one_hot(y) - 1 (0 at ignored pixels) and a linear schedule from 1e-4 to 0.02.
    Xi's logits are the prediction of x_0, as in the release.

    The time t enters in the stem, after each pooling of the encoder and in each block of xi. A pass without noise
    has no time, so that the U-Net is a plain one. In a pretrained encoder, which has no place for a stem and a time,
    the stem makes an image of the noisy labels, and the time is added to the features (ours).

    >>> import torch
    >>> from custom.networks import GenericSSLNetworks, UNet
    >>> networks = GenericSSLNetworks(UNet(num_classes=3, seed=0), sampling_steps=2).eval()
    >>> images, labels = torch.rand(2, 3, 32, 48), torch.zeros(2, 1, 32, 48)
    >>> networks.denoised_logits(images, *networks.add_noise(labels)).shape
    torch.Size([2, 3, 32, 48])
    >>> networks.sample(images).abs().max().item() <= 1
    True

    Args:
        unet: the network that predicts; with further decoders, the first one is theta.
        diffusion_steps: T, steps of the diffusion.
        sampling_steps: steps in which `sample` takes the noise away, without noise of their own (DDIM).
        time_channels: channels of the time embedding.
    """

    def __init__(
        self, unet: UNet, diffusion_steps: int = 1000, sampling_steps: int = 10, time_channels: int = 512
    ) -> None:
        super().__init__(unet)
        encoder, channels = unet.encoder, unet.architecture["in_channels"]
        self.time_embedding = TimeEmbedding(time_channels)
        if isinstance(encoder, UNetEncoder):
            dropout = encoder.blocks[0].dropout.p
            self.stem = ConvolutionBlock(channels + unet.num_classes, encoder.widths[0], dropout, time_channels)
            self.to_image: nn.Module = nn.Identity()
            projected = encoder.widths[:-1]
        else:
            self.stem = ConvolutionBlock(channels + unet.num_classes, STEM_CHANNELS, 0.0, time_channels)
            self.to_image = nn.Conv2d(STEM_CHANNELS, channels, 1)
            projected = encoder.widths
        self.time_projections = nn.ModuleList(TimeProjection(time_channels, width) for width in projected)
        settings = {"upsampling": unet.architecture["upsampling"][0], "skip_widths": encoder.widths[:-1]}
        self.xi = UNetDecoder(unet.decoder_widths, time_channels=time_channels, **settings)
        self.psi = UNetDecoder(unet.decoder_widths, **settings)
        self.heads = nn.ModuleDict(
            {name: nn.Conv2d(unet.decoder_widths[0], unet.num_classes, 3, padding=1) for name in ("xi", "psi")}
        )
        self.diffusion = LatentDiffusion(
            diffusion_steps, sampling_steps, sampler="ddim", clip=True, beta_schedule="linear"
        )

    def add_noise(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Class indices or `IGNORED_LABEL`, [B, 1, H, W] -> noisy label maps [B, K, H, W] and their steps [B]."""
        clean = 2 * one_hot(clear_ignored(labels, labels), self.num_classes) - 1
        return self.diffusion.add_noise(clear_ignored(clean, labels))

    def denoised_logits(self, images: Tensor, noisy: Tensor, steps: Tensor) -> Tensor:
        """Logits [B, K, H, W] of xi.

        Args:
            images: in [0, 1], [B, C, H, W].
            noisy: label maps with noise, [B, K, H, W].
            steps: their steps, [B].
        """
        time = self.time_embedding(steps)
        features = self._encode_noisy(torch.cat([images, noisy], dim=1), time)
        return self._scores("xi", self.xi(features, time)[-1], images)

    def labelled_logits(self, images: Tensor) -> Tensor:
        """Images in [0, 1], [B, C, H, W] -> logits [B, K, H, W] of psi."""
        return self._scores("psi", self.psi(self.deployed.encoder(images))[-1], images)

    @torch.no_grad()
    def sample(self, images: Tensor) -> Tensor:
        """Images in [0, 1], [B, C, H, W] -> label maps [B, K, H, W] in [-1, 1] that xi makes of noise; no gradient.

        In every step its prediction of x_0 is cut to [-1, 1].
        """
        shape = (len(images), self.num_classes, *images.shape[-2:])
        noise = torch.randn(shape, device=images.device)
        return self.diffusion.sample(lambda noisy, steps: self.denoised_logits(images, noisy, steps), noise)

    @torch.no_grad()
    def average_decoders(self, share: float) -> None:
        """Move theta by `share` towards the mean of xi and psi: parameters of the same name, not running averages."""
        theta, parts = self.deployed, {"xi": self.xi, "psi": self.psi}
        pairs = [(theta.decoders[0], list(parts.values())), (theta.heads[0], [self.heads[name] for name in parts])]
        for module, (xi, psi) in pairs:
            for name, parameter in module.named_parameters():
                parameter.lerp_((xi.get_parameter(name) + psi.get_parameter(name)) / 2, share)

    def _encode_noisy(self, inputs: Tensor, time: Tensor) -> list[Tensor]:
        """Image and noisy label map side by side -> features of each resolution, the finest first."""
        encoder, x = self.deployed.encoder, self.to_image(self.stem(inputs, time))
        if not isinstance(encoder, UNetEncoder):
            pairs = zip(encoder(x), self.time_projections, strict=True)
            return [features + projection(time) for features, projection in pairs]
        features = [x]
        for block, projection in zip(encoder.blocks[1:], self.time_projections, strict=True):
            features.append(block(encoder.pool(features[-1]) + projection(time)))
        return features

    def _scores(self, head: str, output: Tensor, images: Tensor) -> Tensor:
        logits = self.heads[head](output)
        if logits.shape[-2:] == images.shape[-2:]:
            return logits
        return interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)
