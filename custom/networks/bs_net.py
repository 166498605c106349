"""The networks of BS-Net: two that segment, and a discriminator of their predictions (IEEE TMI 2024)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from custom.networks.build import UNetPair

__all__ = ["BSNetNetworks", "PredictionDiscriminator"]

WIDTHS = (16, 32, 64, 96, 128)


class PredictionDiscriminator(nn.Module):
    """Tells from an image and its prediction whether the image was a labelled one.

    A 3x3 convolution of stride 2 of each, added; four more with LeakyReLU; the largest value of each channel; a linear
    layer to two classes, 0 for unlabelled and 1 for labelled. That is the release's `Discriminator`: 190,114
    parameters for RGB images of two classes.

    >>> import torch
    >>> from custom.networks import PredictionDiscriminator
    >>> PredictionDiscriminator(num_classes=2)(torch.rand(4, 2, 64, 64).softmax(dim=1), torch.rand(4, 3, 64, 64)).shape
    torch.Size([4, 2])

    Args:
        num_classes: K, with the background; the K - 1 foreground probabilities are looked at. The release has one
            (more: inferred).
        in_channels: channels of the images.
    """

    def __init__(self, num_classes: int = 2, in_channels: int = 3) -> None:
        super().__init__()
        first, *others = WIDTHS
        self.of_prediction = nn.Conv2d(num_classes - 1, first, 3, stride=2, padding=1)
        self.of_image = nn.Conv2d(in_channels, first, 3, stride=2, padding=1)
        layers: list[nn.Module] = []
        for before, after in zip(WIDTHS, others, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.classify = nn.Linear(WIDTHS[-1], 2)

    def forward(self, probabilities: Tensor, images: Tensor) -> Tensor:
        """Softmax [B, K, H, W] and images in [0, 1], [B, C, H, W] -> logits [B, 2]."""
        features = self.layers(self.of_prediction(probabilities[:, 1:]) + self.of_image(images))
        return self.classify(torch.amax(features, dim=(2, 3)))


class BSNetNetworks(UNetPair):
    """Two U-Nets of different initial weights, the first of which predicts, and a discriminator of their predictions.

    >>> from custom.networks import BSNetNetworks
    >>> networks = BSNetNetworks(num_classes=3, seed=0)
    >>> networks.inference_network() is networks.first
    True

    Args:
        num_classes: K, with the background.
        in_channels: channels of the images.
        arguments: further arguments of `UNetPair`.
    """

    def __init__(self, num_classes: int = 2, in_channels: int = 3, **arguments: Any) -> None:
        super().__init__(num_classes, in_channels=in_channels, **arguments)
        self.discriminator = PredictionDiscriminator(num_classes, in_channels)
