"""The U-Net of SSL4MIS, which all methods but SemiGDA train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from custom.errors import InputError
from custom.networks.blocks import ConvolutionBlock, start_from_seed
from custom.networks.deployable import Deployable
from custom.networks.encoder_weights import load_encoder_weights
from custom.networks.encoders import DROPOUT, WIDTHS, build_encoder

__all__ = ["UNet", "UNetDecoder", "soft_labels"]

DECODER_WIDTHS = (24, 48, 96, 192)


def soft_labels(logits: Tensor) -> Tensor:
    """Logits [B, K, H, W] -> soft ordinal labels [B, 1, H, W] in [0, K - 1], whose nearest integer is the class.

    With K = 2 the foreground's probability. With K > 2 the most probable class itself: a mean of class numbers would
    mean nothing for a network whose classes have no order.
    """
    if logits.shape[1] == 2:
        return logits.float().softmax(dim=1)[:, 1:]
    return logits.argmax(dim=1, keepdim=True).float()


class UpStage(nn.Module):
    """Twice the resolution: up-sampling, the skip beside it, a convolution block."""

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, upsampling: str, time_channels: int | None
    ) -> None:
        super().__init__()
        if upsampling == "transposed":
            self.up: nn.Module = nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2)
        else:
            self.up = nn.Conv2d(in_channels, out_channels, 1)
        self.is_nearest = upsampling == "nearest"
        self.block = ConvolutionBlock(out_channels + skip_channels, out_channels, 0.0, time_channels)
        self.attention: nn.Module = nn.Identity()  # `AttentionUNet` has one

    def forward(self, x: Tensor, skip: Tensor, time: Tensor | None) -> Tensor:
        # To the skip's size rather than by 2: the same for even sizes, and odd ones (224 / 32 = 7) work as well.
        x, size = self.up(x), skip.shape[-2:]
        if self.is_nearest:
            x = interpolate(x, size=size, mode="nearest")
        else:
            x = interpolate(x, size=size, mode="bilinear", align_corners=True)
        return self.attention(self.block(torch.cat([skip, x], dim=1), time))


class UNetDecoder(nn.Module):
    """The way up, from the coarsest features to the finest.

    Args:
        widths: channels of each resolution, the finest first; the last ones are those of the coarsest features.
        upsampling: "bilinear" (1x1 convolution, then bilinear with aligned corners), "transposed" (transposed 2x2
            convolution of stride 2) or "nearest" (1x1 convolution, then each pixel repeated).
        time_channels: see `ConvolutionBlock`.
        skip_widths: channels of the encoder's features but the coarsest, the finest first; None for those of `widths`.
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        upsampling: str = "bilinear",
        time_channels: int | None = None,
        skip_widths: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if upsampling not in ("bilinear", "transposed", "nearest"):
            raise InputError(f"upsampling {upsampling!r}: choose 'bilinear', 'transposed' or 'nearest'")
        skip_widths = widths[:-1] if skip_widths is None else skip_widths
        sizes = [(widths[level + 1], skip_widths[level], widths[level]) for level in reversed(range(len(widths) - 1))]
        self.stages = nn.ModuleList(UpStage(*size, upsampling, time_channels) for size in sizes)

    def forward(
        self, features: Sequence[Tensor], time: Tensor | None = None, added: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """Features of the encoder -> output of every stage, the coarsest first; the last as fine as the finest.

        Args:
            features: what `UNetEncoder` gives.
            time: time embedding, see `ConvolutionBlock`.
            added: a tensor for each stage, the coarsest first, added to its input (the first one's is the bottleneck).
        """
        x, outputs = features[-1], []
        for index, (stage, skip) in enumerate(zip(self.stages, reversed(features[:-1]), strict=True)):
            x = stage(x if added is None else x + added[index], skip, time)
            outputs.append(x)
        return outputs


class UNet(Deployable):
    """U-Net with one encoder and one or more decoders (SSL4MIS, `networks/unet.py`).

    With 3 input channels, 2 classes and one bilinear decoder it has 1,813,762 parameters. Images of any size work.

    >>> import torch
    >>> from custom.networks import UNet
    >>> network = UNet(num_classes=3, seed=0).eval()
    >>> network(torch.rand(2, 3, 64, 48)).shape  # soft labels
    torch.Size([2, 1, 64, 48])
    >>> network.logits(torch.rand(2, 3, 64, 48)).shape
    torch.Size([2, 3, 64, 48])

    Args:
        num_classes: K, with the background.
        in_channels: channels of the images.
        widths: channels of each resolution, the finest first.
        dropout: dropout probability of each resolution of the encoder; the decoder has none.
        upsampling: one entry for each decoder, see `UNetDecoder`. The first decoder predicts; others only train.
        encoder: name of the encoder, see `build_encoder`. `widths` and `dropout` are those of "none" alone. The finest
            features of the others have 1/2 or 1/4 of the resolution, and so have the logits, which are interpolated.
        encoder_weights: see `load_encoder_weights`; they replace what the seed drew.
        decoder_widths: channels of the decoder's outputs, the finest first; None for as many as the encoder's for
            "none", and (24, 48, 96, 192) for the others.
        seed: seed of the initial weights; None draws them from the random numbers as they are.

    Attributes:
        decoder_widths: as given, with the channels of the encoder's coarsest features behind.
        branches: names of the predictions, for evaluation.
        hard_labels: whether `forward` gives whole class numbers only, which must not be interpolated.
        architecture: all arguments but the seed, from which `from_architecture` builds the network again.
    """

    branches = ("prediction",)
    _one_for_each_decoder = ("decoders", "heads")
    _entry_for_each_decoder = ("upsampling",)

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        widths: Sequence[int] = WIDTHS,
        dropout: Sequence[float] = DROPOUT,
        upsampling: Sequence[str] = ("bilinear",),
        encoder: str = "none",
        encoder_weights: str | None = None,
        decoder_widths: Sequence[int] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        start_from_seed(seed)
        self.num_classes = num_classes
        self.hard_labels = num_classes > 2
        self.encoder = build_encoder(encoder, in_channels, widths, dropout)
        *skip_widths, coarsest = self.encoder.widths
        if decoder_widths is None:
            decoder_widths = skip_widths if encoder == "none" else DECODER_WIDTHS[-len(skip_widths) :]
        if len(decoder_widths) != len(skip_widths):
            raise InputError(f"decoder_widths {list(decoder_widths)}: encoder {encoder!r} needs {len(skip_widths)}")
        self.decoder_widths = (*decoder_widths, coarsest)
        self.decoders = nn.ModuleList(
            UNetDecoder(self.decoder_widths, kind, skip_widths=skip_widths) for kind in upsampling
        )
        self.heads = nn.ModuleList(nn.Conv2d(decoder_widths[0], num_classes, 3, padding=1) for _ in upsampling)
        load_encoder_weights(self.encoder, encoder, encoder_weights)
        self.architecture = {
            "network": "UNet",
            "num_classes": num_classes,
            "in_channels": in_channels,
            "widths": list(widths),
            "dropout": list(dropout),
            "upsampling": list(upsampling),
            "encoder": encoder,
            "decoder_widths": list(decoder_widths),
        }

    @classmethod
    def from_architecture(cls, architecture: dict[str, Any]) -> UNet:
        """The network that `architecture` describes, with random weights."""
        return cls(**{key: value for key, value in architecture.items() if key != "network"})

    def inference_network(self) -> UNet:
        """The network without what only training needs: with the first decoder alone. It shares the weights."""
        if len(self.decoders) == 1:
            return self
        architecture = self.architecture | {name: self.architecture[name][:1] for name in self._entry_for_each_decoder}
        network = type(self).from_architecture(architecture)
        for name, module in self.named_children():
            setattr(network, name, module[:1] if name in self._one_for_each_decoder else module)
        return network.train(self.training)

    def all_logits(self, images: Tensor) -> list[Tensor]:
        """Images in [0, 1], [B, C, H, W] -> logits [B, K, H, W] of every decoder."""
        features = self.encoder(images)
        return [
            self.scores(index, decoder(features)[-1], images.shape[-2:]) for index, decoder in enumerate(self.decoders)
        ]

    def logits(self, images: Tensor) -> Tensor:
        """Images in [0, 1], [B, C, H, W] -> logits [B, K, H, W] of the first decoder."""
        return self.scores(0, self.decoders[0](self.encoder(images))[-1], images.shape[-2:])

    def logits_with_factors(self, images: Tensor, factors: Sequence[Tensor]) -> Tensor:
        """Logits [B, K, H, W] of the first decoder, which gets the encoder's features multiplied, channel by channel.

        Args:
            images: in [0, 1], [B, C, H, W].
            factors: one for each level of the encoder, [B, `encoder.widths[level]`, 1, 1], the finest first.
        """
        features = [level * factor for level, factor in zip(self.encoder(images), factors, strict=True)]
        return self.scores(0, self.decoders[0](features)[-1], images.shape[-2:])

    def scores(self, decoder: int, output: Tensor, size: Sequence[int]) -> Tensor:
        """The last output of a decoder, by its index -> logits [B, K, H, W] of that size."""
        logits = self.heads[decoder](output)
        if logits.shape[-2:] == tuple(size):
            return logits
        return interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images in [0, 1], [B, C, H, W] -> soft ordinal labels [B, 1, H, W] in [0, K - 1], see `soft_labels`."""
        return soft_labels(self.logits(images))
