"""The networks of SKCDF: channel attention between labelled and unlabelled images (Zhang et al., CVPR 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, interpolate, layer_norm, pixel_shuffle

from custom.errors import InputError
from custom.networks.encoders import DROPOUT, WIDTHS
from custom.networks.training_networks import TrainingNetworks, move_towards
from custom.networks.unet import UNet

__all__ = ["ChannelAttention", "SKCDFNetworks", "SKCDFUNet"]


class ChannelAttention(nn.Module):
    """Attention between the channels of features, patch by patch: a block of the release in 2-D.

    A convolution that is the same for every channel makes the p x p values of a patch its p^2 tokens. With
    z = LayerNorm(tokens) and q, k, v linear in the channels, C -> heads C, a channel of q asks the channels of k over
    the tokens of its patch; scores are normalised over their whole matrix, then softmax, dropout 0.1. From

    - itself: each head of a row asks the same head of the same row;
    - `labelled` rows first, then others: a row asks all channels of all rows of the other kind. What comes from the
      others has no gradient, neither as q nor as k and v.

    The result, linear heads C -> C, and the tokens are added; LayerNorm, back to the map, conv1x1, GELU.

    Args:
        channels: C.
        patch: p; the sides of the features must be its multiples.
        heads: number of heads.
        drop_itself: whether there is dropout after the last linear layer when rows ask themselves; the release has none
            in its local block.
    """

    def __init__(self, channels: int, patch: int, heads: int = 2, drop_itself: bool = True) -> None:
        super().__init__()
        self.patch, self.heads, self.drop_itself = patch, heads, drop_itself
        self.tokens = nn.Conv2d(1, patch**2, patch, stride=patch)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.q, self.k, self.v = (nn.Linear(channels, heads * channels, bias=False) for _ in range(3))
        self.out = nn.Linear(heads * channels, channels, bias=False)
        self.last_norm = nn.LayerNorm(channels, eps=1e-6)
        self.last = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU())
        for linear in (self.q, self.k, self.v, self.out):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, features: Tensor, labelled: int | None = None) -> Tensor:
        """Features [B, C, h, w] -> [B, C, h, w].

        Args:
            features: labelled rows first.
            labelled: number of labelled rows, with at least one other; None: each row asks itself.
        """
        channels = features.shape[1]
        tokens = self.tokens(features.flatten(0, 1)[:, None])  # [B C, p^2, rows, columns]
        grid = tokens.shape[-2:]
        tokens = tokens.flatten(2).unflatten(0, (-1, channels)).permute(0, 3, 2, 1)  # [B, n, p^2, C]
        z = self.norm(tokens)
        if labelled is None:
            attended = self._ask_itself(z)
            if self.drop_itself:
                attended = dropout(attended, 0.1, self.training)
        else:
            ours, theirs = z[:labelled], z[labelled:].detach()
            attended = torch.cat([self._ask(ours, theirs), self._ask(theirs, ours)])
            attended = dropout(attended, 0.1, self.training)
        tokens = self.last_norm(attended + tokens)
        tokens = tokens.permute(0, 3, 2, 1).unflatten(3, grid).flatten(0, 1)  # [B C, p^2, rows, columns]
        return self.last(pixel_shuffle(tokens, self.patch)[:, 0].unflatten(0, (-1, channels)))

    def _ask_itself(self, z: Tensor) -> Tensor:
        """Tokens [B, n, p^2, C] -> [B, n, p^2, C]."""
        q, k, v = (linear(z).unflatten(3, (-1, self.heads)).movedim(4, 2) for linear in (self.q, self.k, self.v))
        mixed = self._attend(q.transpose(3, 4), k, v)  # [B, n, heads, C, p^2]
        return self.out(mixed.permute(0, 1, 4, 3, 2).flatten(3))

    def _ask(self, rows: Tensor, others: Tensor) -> Tensor:
        """Tokens [B, n, p^2, C] that ask those of other images, [B', n, p^2, C] -> [B, n, p^2, C]."""
        q = self.q(rows).transpose(2, 3)
        k, v = (linear(others).permute(1, 2, 0, 3).flatten(2) for linear in (self.k, self.v))  # [n, p^2, B' heads C]
        return self.out(self._attend(q, k, v).transpose(2, 3))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[..., channels, p^2] ask [..., p^2, others] -> [..., channels, p^2]."""
        scores = q @ k
        weights = layer_norm(scores, scores.shape[-2:]).softmax(dim=-1)  # without parameters: an instance norm
        return dropout(weights, 0.1, self.training) @ v.transpose(-1, -2)


class AttendingEncoder(nn.Module):
    """An encoder of `build_encoder` whose coarsest features go through a local and a global `ChannelAttention`.

    Attributes:
        widths: channels of the features, the finest first.
        side: to which the coarsest features are resized before both, an even number; and back after them.
    """

    def __init__(self, encoder: nn.Module, in_channels: int, image_size: int, heads: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.widths = encoder.widths
        with torch.no_grad():
            coarsest = encoder.eval()(torch.zeros(1, in_channels, image_size, image_size))[-1]
        encoder.train()
        self.side = 2 * -(-coarsest.shape[-1] // 2)
        self.local_attention = ChannelAttention(self.widths[-1], 2, heads, drop_itself=False)
        self.global_attention = ChannelAttention(self.widths[-1], self.side, heads)

    def forward(self, images: Tensor, labelled: int | None = None) -> list[Tensor]:
        """Images in [0, 1], [B, C, H, W] -> features of each resolution, the finest first; see `ChannelAttention`."""
        *finer, coarsest = self.encoder(images)
        resized = interpolate(coarsest, size=(self.side, self.side), mode="bilinear", align_corners=False)
        resized = self.global_attention(self.local_attention(resized, labelled), labelled)
        return [*finer, interpolate(resized, size=coarsest.shape[-2:], mode="bilinear", align_corners=False)]


class SKCDFUNet(UNet):
    """U-Net with two equal decoders, whose bottleneck goes through channel attention, see `ChannelAttention`.

    The first decoder is that of unlabelled images, which predicts; the second one that of labelled images. A global
    patch is as large as the bottleneck and thus made for one size of images; at other sizes, and where the bottleneck
    has an odd side, the features are resized to it and back (inferred).

    With 3 input channels, 2 classes, images of 224 pixels and one decoder it has 3,034,602 parameters.

    >>> import torch
    >>> from custom.networks import SKCDFUNet
    >>> network = SKCDFUNet(num_classes=3, image_size=64, seed=0).eval()
    >>> network.logits(torch.rand(2, 3, 64, 48)).shape
    torch.Size([2, 3, 64, 48])

    Args:
        num_classes: K, with the background.
        in_channels: channels of the images.
        widths: channels of each resolution, the finest first.
        dropout: dropout probability of each resolution of the encoder.
        upsampling: one entry for each decoder, all the same, see `UNetDecoder`.
        image_size: side of the images in training.
        heads: of the attention. Scores of 2 + 2 images of 224 pixels take about 1.6 GB in training, with one head 0.4.
        encoder, encoder_weights, decoder_widths, seed: see `UNet`.

    Raises:
        InputError: decoders of several kinds.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        widths: Sequence[int] = WIDTHS,
        dropout: Sequence[float] = DROPOUT,
        upsampling: Sequence[str] = ("bilinear", "bilinear"),
        image_size: int = 224,
        heads: int = 2,
        encoder: str = "none",
        encoder_weights: str | None = None,
        decoder_widths: Sequence[int] | None = None,
        seed: int | None = None,
    ) -> None:
        if len(set(upsampling)) != 1:
            raise InputError(f"upsampling {list(upsampling)}: the decoders of SKCDF must be of one kind")
        super().__init__(
            num_classes, in_channels, widths, dropout, upsampling, encoder, encoder_weights, decoder_widths, seed
        )
        self.encoder = AttendingEncoder(self.encoder, in_channels, image_size, heads)
        self.architecture |= {"network": "SKCDFUNet", "image_size": image_size, "heads": heads}


class SKCDFNetworks(TrainingNetworks):
    """A `SKCDFUNet`, a second, balanced head for each of its decoders, and how often the classes were seen.

    >>> import torch
    >>> from custom.networks import SKCDFNetworks
    >>> networks = SKCDFNetworks(num_classes=3, image_size=64, seed=0)
    >>> main, balanced = networks.logits_of_both_heads(torch.rand(2, 3, 64, 64), decoder=1, labelled=1)
    >>> main.shape, balanced.shape
    (torch.Size([2, 3, 64, 64]), torch.Size([2, 3, 64, 64]))

    Args:
        num_classes: K, with the background.
        arguments: further arguments of `SKCDFUNet`.
    """

    arguments_of = SKCDFUNet

    def __init__(self, num_classes: int = 2, **arguments: Any) -> None:
        super().__init__(SKCDFUNet(num_classes, **arguments))
        width = self.deployed.decoder_widths[0]
        self.balanced_heads = nn.ModuleList(nn.Conv2d(width, num_classes, 3, padding=1) for _ in self.deployed.decoders)
        self.register_buffer("class_counts", torch.zeros(num_classes, dtype=torch.float64))

    def logits_of_both_heads(self, images: Tensor, decoder: int, labelled: int | None = None) -> tuple[Tensor, Tensor]:
        """Images in [0, 1], [B, C, H, W] -> logits [B, K, H, W] of the main and of the balanced head of a decoder.

        Args:
            images: labelled rows first.
            decoder: 0, that of unlabelled images, or 1.
            labelled: see `ChannelAttention`.
        """
        unet, size = self.deployed, images.shape[-2:]
        output = unet.decoders[decoder](unet.encoder(images, labelled))[-1]
        balanced = self.balanced_heads[decoder](output)
        if balanced.shape[-2:] != size:
            balanced = interpolate(balanced, size=size, mode="bilinear", align_corners=False)
        return unet.scores(decoder, output, size), balanced

    @torch.no_grad()
    def move(self, decay: float) -> None:
        """Parameters go to moving averages, x <- decay x + (1 - decay) x', in this order.

        The labelled decoder's main head to its balanced one; the unlabelled decoder with both heads to the labelled
        one; its main head to its balanced one.
        """
        unet = self.deployed
        main, balanced = unet.heads, self.balanced_heads
        pairs = [(main[1], balanced[1])]
        pairs += [(part[0], part[1]) for part in (unet.decoders, main, balanced)]
        pairs += [(main[0], balanced[0])]
        for moved, target in pairs:
            move_towards(moved, target, decay)
