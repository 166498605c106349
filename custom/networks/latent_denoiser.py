"""The network that takes the noise from a latent, under a condition."""

from __future__ import annotations

from collections.abc import Sequence

from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from custom.networks.blocks import ConvolutionBlock
from custom.networks.unet import UNetDecoder

__all__ = ["LatentDenoiser", "TimeEmbedding"]

SINUSOIDS = 128


class TimeEmbedding(nn.Sequential):
    """Numbers [B] -> [B, channels]: 128 sines and cosines, then two linear layers with SiLU between them (as in DDPM).

    Args:
        channels: channels of the embedding.
    """

    def __init__(self, channels: int = 512) -> None:
        sinusoids = Timesteps(SINUSOIDS, flip_sin_to_cos=False, downscale_freq_shift=1)
        super().__init__(sinusoids, TimestepEmbedding(SINUSOIDS, channels))


class LatentDenoiser(nn.Module):
    """A small U-Net without a block at the finest resolution, from a noisy latent to the clean one (DiffRect).

    The condition is added to the latent. The released code uses the sum for the last skip only, so that the way down
    does not see the condition; the paper feeds it to the network, and so do we unless `condition_in_down_path` is off.

    Args:
        widths: channels of each resolution, the latent's first.
        time_channels: channels of the embedding of the diffusion step.
        condition_in_down_path: whether the way down sees the condition.
    """

    def __init__(
        self,
        widths: Sequence[int] = (256, 384, 512),
        time_channels: int = 512,
        condition_in_down_path: bool = True,
    ) -> None:
        super().__init__()
        self.condition_in_down_path = condition_in_down_path
        self.time_embedding = TimeEmbedding(time_channels)
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.down = nn.ModuleList(ConvolutionBlock(*pair, time_channels=time_channels) for pair in pairs)
        self.up = UNetDecoder(widths, time_channels=time_channels)

    def forward(self, noisy: Tensor, condition: Tensor, steps: Tensor) -> Tensor:
        """Noisy latent and condition, both [B, C, H, W], at diffusion steps [B] -> clean latent [B, C, H, W]."""
        time = self.time_embedding(steps)
        conditioned = noisy + condition
        x = conditioned if self.condition_in_down_path else noisy
        features = [conditioned]
        for block in self.down:
            x = block(_halved(x), time)
            features.append(x)
        return self.up(features, time)[-1]


def _halved(x: Tensor) -> Tensor:
    """Max-pooled to half the size, unless less than 2 x 2 would be left, of which batch normalisation needs some."""
    return max_pool2d(x, 2) if min(x.shape[-2:]) >= 4 else x
