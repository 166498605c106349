"""The U-Net of DTC, which also predicts the signed distance of every pixel to each class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from custom.networks.training_networks import TrainingNetworks
from custom.networks.unet import UNet

__all__ = ["DistanceUNet"]


class DistanceUNet(TrainingNetworks):
    """A U-Net with a second head on the last features of its decoder, for signed distances (DTC, `VNet` of `vnet_sdf`).

    The head is a 3x3 convolution like that of the classes (inferred for 2-D: the release has 1x1x1 for both) and tanh.
    Of an encoder whose finest features are coarser than the image, distances are interpolated like the logits.

    >>> import torch
    >>> from custom.networks import DistanceUNet, UNet
    >>> network = DistanceUNet(UNet(num_classes=3, seed=0)).eval()
    >>> logits, distances = network.logits_and_distances(torch.rand(1, 3, 32, 48))
    >>> logits.shape, distances.shape
    (torch.Size([1, 3, 32, 48]), torch.Size([1, 2, 32, 48]))

    Args:
        unet: the network that predicts; with further decoders, the first one is used.
    """

    def __init__(self, unet: UNet) -> None:
        super().__init__(unet)
        self.distance_head = nn.Conv2d(unet.decoder_widths[0], unet.num_classes - 1, 3, padding=1)

    def logits_and_distances(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] in [0, 1] -> logits [B, K, H, W], and distances [B, K - 1, H, W] in [-1, 1], float32."""
        unet, size = self.deployed, images.shape[-2:]
        features = unet.decoders[0](unet.encoder(images))[-1]
        with torch.autocast(images.device.type, enabled=False):  # the loss tells apart what bfloat16 rounds together
            distances = interpolate(self.distance_head(features.float()), size, mode="bilinear", align_corners=False)
        return unet.scores(0, features, size), distances.tanh()
