"""The U-Net of CDMA, each decoder of which attends to channels, to positions or to both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from custom.errors import InputError
from custom.networks.encoders import DROPOUT, WIDTHS
from custom.networks.unet import UNet

__all__ = ["AttentionUNet", "ChannelAttention", "SpatialAttention"]


class ChannelAttention(nn.Module):
    """x sigmoid(M(average of x) + M(maximum of x)), over the positions of each channel (CBAM, Woo et al., ECCV 2018).

    M is 1x1 convolution, ReLU, 1x1 convolution, without biases.

    Args:
        channels: of x.
        reduction: channels of x over those between M's convolutions, which are at least one.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        reduced = max(channels // reduction, 1)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, reduced, 1, bias=False), nn.ReLU(), nn.Conv2d(reduced, channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, C, h, w] -> the same, weighted."""
        average, maximum = x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        return x * (self.mlp(average) + self.mlp(maximum)).sigmoid()


class SpatialAttention(nn.Module):
    """x sigmoid(conv7x7([average of x, maximum of x])), over the channels of each position, without a bias (CBAM)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features [B, C, h, w] -> the same, weighted."""
        descriptors = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * self.convolution(descriptors).sigmoid()


def _attention(kind: str, channels: int, reduction: int) -> nn.Module:
    if kind == "cbam":
        return nn.Sequential(ChannelAttention(channels, reduction), SpatialAttention())
    if kind == "spatial":
        return SpatialAttention()
    if kind == "channel":
        return ChannelAttention(channels, reduction)
    raise InputError(f"attention {kind!r}: choose 'cbam', 'spatial' or 'channel'")


class AttentionUNet(UNet):
    """U-Net with attention in its decoders, after the convolution block of every stage but the last.

    The decoders have the same up-sampling and differ in their attention: both kinds (CBAM), positions alone, channels
    alone. The first one predicts. Where the attention is, is that of the same laboratory's 2-D U-Net (PyMIC `MTNet`),
    which has no training code; the release of CDMA attends within DeepLabv3+.

    With 3 input channels, 2 classes and CBAM alone it has 1,816,744 parameters.

    >>> import torch
    >>> from custom.networks import AttentionUNet
    >>> network = AttentionUNet(num_classes=3, seed=0).eval()
    >>> [tuple(logits.shape) for logits in network.all_logits(torch.rand(1, 3, 32, 32))]
    [(1, 3, 32, 32), (1, 3, 32, 32), (1, 3, 32, 32)]

    Args:
        num_classes: K, with the background.
        in_channels: channels of the images.
        widths: channels of each resolution, the finest first.
        dropout: dropout probability of each resolution of the encoder.
        attention: one entry for each decoder, "cbam", "spatial" or "channel".
        reduction: see `ChannelAttention`.
        upsampling: one entry for each decoder, see `UNetDecoder`; None for "bilinear" in all.
        encoder, encoder_weights, decoder_widths, seed: see `UNet`.

    Raises:
        InputError: an unknown attention, a reduction below 1, or another number of up-samplings.
    """

    _entry_for_each_decoder = (*UNet._entry_for_each_decoder, "attention")

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        widths: Sequence[int] = WIDTHS,
        dropout: Sequence[float] = DROPOUT,
        attention: Sequence[str] = ("cbam", "spatial", "channel"),
        reduction: int = 16,
        upsampling: Sequence[str] | None = None,
        encoder: str = "none",
        encoder_weights: str | None = None,
        decoder_widths: Sequence[int] | None = None,
        seed: int | None = None,
    ) -> None:
        if not reduction >= 1:
            raise InputError(f"reduction {reduction}: give a whole number from 1")
        if upsampling is None:
            upsampling = ("bilinear",) * len(attention)
        if len(upsampling) != len(attention):
            raise InputError(f"upsampling {list(upsampling)}: give one entry for each of attention {list(attention)}")
        super().__init__(
            num_classes, in_channels, widths, dropout, upsampling, encoder, encoder_weights, decoder_widths, seed
        )
        for decoder, kind in zip(self.decoders, attention, strict=True):
            for stage, width in zip(decoder.stages[:-1], reversed(self.decoder_widths[1:-1]), strict=True):
                stage.attention = _attention(kind, width, reduction)
        self.architecture |= {"network": "AttentionUNet", "attention": list(attention), "reduction": reduction}
