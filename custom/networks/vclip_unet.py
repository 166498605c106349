"""The networks of VCLIPSeg: a U-Net whose bottleneck is fused with a vector of each class (Li et al., MICCAI 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn

from custom.networks.encoders import DROPOUT, WIDTHS
from custom.networks.text_vectors import random_orthogonal_vectors, read_text_vectors
from custom.networks.training_networks import TrainingNetworks
from custom.networks.unet import UNet

__all__ = ["TextFusion", "VCLIPSegNetworks", "VCLIPUNet"]

LEAKY_RELU = ("leakyrelu", {"negative_slope": 0.01})


class TextFusion(nn.Module):
    """Adds what the classes are called to features: the release's `clip_block`, in 2-D.

    With features x, g = conv3x3(x) and the text vectors e_c, at each position

        a = softmax_c MLP(g),   T = sum_c a_c Linear(e_c),   x' = conv3x3([x, T])

    Both convolutions have batch normalisation and LeakyReLU; the MLP has 16 hidden channels and GELU.

    Args:
        channels: of x and x'.
        text_vectors: e, [K, D]; they are kept as they are, in a buffer.
    """

    def __init__(self, channels: int, text_vectors: Tensor) -> None:
        super().__init__()
        self.register_buffer("text_vectors", text_vectors)
        num_classes, text_channels = text_vectors.shape
        settings = {"adn_ordering": "NA", "norm": "batch", "act": LEAKY_RELU}
        self.reduce = Convolution(2, channels, 64, **settings)
        self.attend = nn.Sequential(nn.Conv2d(64, 16, 1), nn.GELU(), nn.Conv2d(16, num_classes, 1))
        self.embed = nn.Linear(text_channels, channels)
        self.fuse = Convolution(2, 2 * channels, channels, **settings)

    def forward(self, features: Tensor) -> Tensor:
        """Features [B, C, h, w] -> [B, C, h, w]."""
        attention = self.attend(self.reduce(features)).softmax(dim=1)
        text = torch.einsum("bkhw,kc->bchw", attention, self.embed(self.text_vectors).to(attention.dtype))
        return self.fuse(torch.cat([features, text.to(features.dtype)], dim=1))


class TextFusedEncoder(nn.Module):
    """An encoder of `build_encoder` whose coarsest features go through a `TextFusion`.

    Attributes:
        widths: channels of the features, the finest first.
    """

    def __init__(self, encoder: nn.Module, text_vectors: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.widths = encoder.widths
        self.fusion = TextFusion(encoder.widths[-1], text_vectors)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Images in [0, 1], [B, C, H, W] -> features of each resolution, the finest first."""
        *finer, coarsest = self.encoder(images)
        return [*finer, self.fusion(coarsest)]


class VCLIPUNet(UNet):
    """U-Net with two decoders whose bottleneck is fused with text vectors, see `TextFusion`.

    The vectors are not learnt. Without a file of text features they are random and orthogonal, of the length `LENGTH`:
    they tell the classes apart and say nothing about them. The network has no text encoder; CLIP's features of a
    prompt for each class are made elsewhere. They are part of the state, so that a `model.pt` needs no file.

    With 3 input channels, 2 classes and one transposed decoder it has 3,404,788 parameters.

    >>> import torch
    >>> from custom.networks import VCLIPUNet
    >>> network = VCLIPUNet(num_classes=3, seed=0).eval()
    >>> network.logits(torch.rand(2, 3, 64, 48)).shape
    torch.Size([2, 3, 64, 48])
    >>> network.text_vectors.shape
    torch.Size([3, 512])

    Args:
        num_classes: K, with the background.
        in_channels: channels of the images.
        widths: channels of each resolution, the finest first.
        dropout: dropout probability of each resolution of the encoder.
        upsampling: one entry for each decoder, see `UNetDecoder`; all get the fused bottleneck.
        text_embeddings: a safetensors file of one tensor [K, D], see `read_text_vectors`; None for random vectors.
        text_channels: D of random vectors; CLIP's ViT-B/32 has 512.
        encoder, encoder_weights, decoder_widths, seed: see `UNet`.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        widths: Sequence[int] = WIDTHS,
        dropout: Sequence[float] = DROPOUT,
        upsampling: Sequence[str] = ("transposed", "bilinear"),
        text_embeddings: str | None = None,
        text_channels: int = 512,
        encoder: str = "none",
        encoder_weights: str | None = None,
        decoder_widths: Sequence[int] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            num_classes, in_channels, widths, dropout, upsampling, encoder, encoder_weights, decoder_widths, seed
        )
        if text_embeddings is None:
            vectors = random_orthogonal_vectors(num_classes, text_channels)
        else:
            vectors = read_text_vectors(text_embeddings, num_classes)
        self.encoder = TextFusedEncoder(self.encoder, vectors)
        self.architecture |= {"network": "VCLIPUNet", "text_channels": vectors.shape[1]}

    @property
    def text_vectors(self) -> Tensor:
        """e, [K, D]."""
        return self.encoder.fusion.text_vectors


class VCLIPSegNetworks(TrainingNetworks):
    """A `VCLIPUNet`, and beside it a projection of its fused bottleneck into the space of the text for each decoder.

    The projections, 1x1 convolutions with ReLU between them, differ in their initial weights alone.

    >>> import torch
    >>> from custom.networks import VCLIPSegNetworks
    >>> networks = VCLIPSegNetworks(num_classes=3, seed=0)
    >>> logits, projections = networks.all_logits_with_projections(torch.rand(1, 3, 64, 64))
    >>> len(logits), [tuple(each.shape) for each in projections]
    (2, [(1, 512, 4, 4), (1, 512, 4, 4)])
    >>> len(networks.inference_network().decoders)
    1

    Args:
        num_classes: K, with the background.
        arguments: further arguments of `VCLIPUNet`.
    """

    arguments_of = VCLIPUNet

    def __init__(self, num_classes: int = 2, **arguments: Any) -> None:
        super().__init__(VCLIPUNet(num_classes, **arguments))
        unet = self.deployed
        channels, text_channels = unet.encoder.widths[-1], unet.text_vectors.shape[1]
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, text_channels, 1))
            for _ in unet.decoders
        )

    @property
    def text_vectors(self) -> Tensor:
        """e, [K, D]."""
        return self.deployed.text_vectors

    def all_logits_with_projections(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Images in [0, 1], [B, C, H, W] -> for each decoder logits [B, K, H, W] and the projection [B, D, h, w]."""
        unet = self.deployed
        features = unet.encoder(images)
        logits = [
            unet.scores(index, decoder(features)[-1], images.shape[-2:]) for index, decoder in enumerate(unet.decoders)
        ]
        return logits, [projection(features[-1]) for projection in self.projections]
