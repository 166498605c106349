"""Probabilities of all classes, of whatever network."""

from __future__ import annotations

from torch import Tensor, nn

from custom.labels import LabelCodec

__all__ = ["class_probabilities"]


def class_probabilities(network: nn.Module, images: Tensor) -> Tensor:
    """Images [B, C, H, W] in [0, 1] -> probabilities [B, K, H, W] that sum to one over the classes, float32.

    The softmax of networks with `logits`. SemiGDA has soft labels of its branches instead, and gives the memberships of
    their mean: (1 - p, p) for K = 2; for K > 2 triangular ones about each class, or those of the palette.

    >>> import torch
    >>> from custom.inferers import class_probabilities
    >>> from custom.networks import UNet
    >>> probabilities = class_probabilities(UNet(num_classes=3, seed=0).eval(), torch.rand(2, 3, 32, 32))
    >>> probabilities.shape, torch.allclose(probabilities.sum(dim=1), torch.ones(2, 32, 32))
    (torch.Size([2, 3, 32, 32]), True)

    Args:
        network: a network of `load_model`.
        images: on the device of the network.
    """
    if hasattr(network, "logits"):
        return network.logits(images).float().softmax(dim=1)
    return LabelCodec(network.num_classes).memberships(network.soft_labels(images).float())
