"""A pretrained encoder in the place of the Mask branch's CNN."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate

from custom.errors import InputError
from custom.networks.encoder_weights import load_encoder_weights
from custom.networks.encoders import build_encoder
from custom.networks.trainable_encoder import moment_head

__all__ = ["PretrainedMaskEncoder"]

COARSEST = 32
"""How many pixels wide a cell of the coarsest features is, for every encoder of `build_encoder` but "none"."""


class PretrainedMaskEncoder(nn.Module):
    """An encoder by name, from images to latent moments, with one skip feature map for each resolution.

    It has the interface of `TrainableEncoder`. The encoder's features are fused from the coarsest to the finest (Lin et
    al., CVPR 2017: feature pyramid): at each resolution a 1x1 convolution of the features, plus a 1x1 convolution of
    the coarser result, up-sampled; then batch normalisation and ReLU. So the stages beyond the latent's resolution give
    context. Where the encoder has no features, at the full resolution, a 3x3 convolution of the image takes their
    place. The moments come from the result at the latent's resolution, by the head of `TrainableEncoder`.

    >>> import torch
    >>> from custom.networks import PretrainedMaskEncoder
    >>> encoder = PretrainedMaskEncoder("efficientnet-lite0", (8, 16, 16), moment_channels=8)
    >>> moments, skips = encoder(torch.rand(2, 3, 64, 64))
    >>> moments.shape, [skip.shape[-1] for skip in skips]
    (torch.Size([2, 8, 16, 16]), [64, 32, 16])

    Args:
        name: name of the encoder, see `build_encoder`; not "none".
        widths: channels of each resolution, the finest first; the latent has the last of them.
        moment_channels: channels of the output, twice the number of latent channels.
        dropout: dropout probability between the two convolutions of the head.
        finest: how many pixels wide a cell of the finest skip is; a power of 2.
        weights: see `load_encoder_weights`.

    Raises:
        InputError: no encoder has that name, its weights cannot be loaded, or the latent is coarser than its features.
    """

    def __init__(
        self,
        name: str,
        widths: Sequence[int],
        moment_channels: int,
        dropout: float = 0.1,
        finest: int = 1,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.encoder = build_encoder(name, 3)
        channels = {COARSEST >> index: width for index, width in enumerate(reversed(self.encoder.widths))}
        cells = [finest << level for level in range(len(widths))]
        if cells[-1] > COARSEST:
            raise InputError(f"encoder {name!r}: its features are coarse by {COARSEST}, the latent by {cells[-1]}")
        cells += [cell for cell in sorted(channels) if cell > cells[-1]]
        widths = [*widths, *[widths[-1]] * (len(cells) - len(widths))]
        self.skipped = sum(cell < cells[0] for cell in channels)
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels[cell], width, 1, bias=False)
            if cell in channels
            else nn.Conv2d(3, width, 3, cell, padding=1, bias=False)
            for cell, width in zip(cells, widths, strict=True)
        )
        self.images = sum(cell not in channels for cell in cells)
        self.contexts = nn.ModuleList(
            nn.Conv2d(coarser, width, 1, bias=False) for width, coarser in zip(widths, widths[1:], strict=False)
        )
        self.norms = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True)) for width in widths)
        self.head = moment_head(self.widths[-1], moment_channels, dropout)
        for module in (*self.laterals, *self.contexts, *self.head):
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        load_encoder_weights(self.encoder, name, weights)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """RGB images in [-1, 1], [B, 3, H, W] -> moments [B, moment_channels, h, w] and the skips, the finest first."""
        features = [images] * self.images + self.encoder((images + 1) / 2)[self.skipped :]
        fused: list[Tensor] = []
        for level in reversed(range(len(self.laterals))):
            x = self.laterals[level](features[level])
            if fused:
                context = self.contexts[level](fused[0])
                x = x + interpolate(context, size=x.shape[-2:], mode="bilinear", align_corners=False)
            fused.insert(0, self.norms[level](x))
        skips = fused[: len(self.widths)]
        return self.head(skips[-1]), skips
