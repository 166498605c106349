"""The U-Net of URPC, with logits at four resolutions in training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout2d, interpolate

from custom.errors import InputError
from custom.networks.training_networks import TrainingNetworks
from custom.networks.unet import UNet

__all__ = ["PyramidUNet", "drop_attended_pixels", "scale_randomly"]


class PyramidUNet(TrainingNetworks):
    """A U-Net with a further head on each of the three decoder stages below the last (SSL4MIS `UNet_URDS`).

    In training mode the features that a further head gets are disturbed: at 1/2 of the resolution by `scale_randomly`,
    at 1/4 by `drop_attended_pixels`, at 1/8 by dropout of half of the channels. The next stage gets them as they were.

    The U-Net is that of the other methods, with bilinear up-sampling by default; SSL4MIS (commit 126084d)
    takes transposed convolutions here (`upsampling=("transposed",)`). Its fourth further head, without use, is absent.

    >>> import torch
    >>> from custom.networks import PyramidUNet, UNet
    >>> network = PyramidUNet(UNet(num_classes=3, seed=0)).eval()
    >>> [tuple(logits.shape) for logits in network.all_logits(torch.rand(1, 3, 32, 32))]
    [(1, 3, 32, 32), (1, 3, 32, 32), (1, 3, 32, 32), (1, 3, 32, 32)]

    Args:
        unet: the network that predicts, of at least five resolutions; with further decoders, the first one is used.

    Raises:
        InputError: the U-Net has fewer resolutions.
    """

    def __init__(self, unet: UNet) -> None:
        super().__init__(unet)
        widths = unet.decoder_widths
        if len(widths) < 5:
            raise InputError(f"widths {list(widths)}: PyramidUNet needs a U-Net of at least five resolutions")
        self.further_heads = nn.ModuleList(nn.Conv2d(width, unet.num_classes, 3, padding=1) for width in widths[1:4])

    def all_logits(self, images: Tensor) -> list[Tensor]:
        """Images [B, C, H, W] in [0, 1] -> logits [B, K, H, W] of the main head, then from 1/2, 1/4, 1/8 of the size.

        The further ones are brought to the size of the images by repeating the nearest pixel.
        """
        unet = self.deployed
        finest, *coarser = reversed(unet.decoders[0](unet.encoder(images)))
        logits = [unet.scores(0, finest, images.shape[-2:])]
        for disturb, features, head in zip(
            (scale_randomly, drop_attended_pixels, dropout2d), coarser[:3], self.further_heads, strict=True
        ):
            coarse = head(disturb(features) if self.training else features)
            logits.append(interpolate(coarse, size=images.shape[-2:], mode="nearest"))
        return logits


def scale_randomly(features: Tensor, largest: float = 0.3) -> Tensor:
    """Features [B, C, H, W] times 1 + n, with n uniform in [-largest, largest], the same for all images."""
    return features * (1 + torch.empty_like(features[:1]).uniform_(-largest, largest))


def drop_attended_pixels(features: Tensor, lowest: float = 0.7, highest: float = 0.9) -> Tensor:
    """Features [B, C, H, W] with zeros at the pixels of the highest mean over channels.

    Dropped is what reaches a share of the image's maximum; one share uniform in [lowest, highest] for the batch.
    """
    attention = features.mean(dim=1, keepdim=True)
    share = torch.empty((), device=features.device).uniform_(lowest, highest)
    return features * (attention < share * attention.amax(dim=(2, 3), keepdim=True))
