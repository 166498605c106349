"""Inference that keeps the branches apart."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor, nn

from custom.labels import most_likely
from custom.precision import autocast

__all__ = ["BranchInferer"]


class BranchInferer(Inferer):
    """Soft labels of the model and of its branches, stacked as channels.

    Channel 0 is the model's prediction (for SemiGDA the weighted mean of its branches), the others are the branches in
    the order of `network.branches`. A network without `predict_branches` gives channel 0 alone. Where the branches give
    memberships, the classes are those of the largest membership, and of the largest mean.

    >>> import torch
    >>> from custom.inferers import BranchInferer
    >>> from custom.networks import UNet
    >>> BranchInferer()(torch.rand(2, 3, 32, 32), UNet(seed=0).eval()).shape
    torch.Size([2, 1, 32, 32])

    The slices of a volume go through the network in groups, a grey channel as red, green and blue.

    Args:
        amp: run in bfloat16 where it is safe, on devices that have it, see `custom.precision.autocast`.
        slices: how many slices of a volume the network sees at once.
    """

    def __init__(self, amp: bool = False, slices: int = 8) -> None:
        super().__init__()
        self.amp = amp
        self.slices = slices

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Predict images or volumes.

        Args:
            inputs: [B, 3, H, W], or [B, 3 or 1, H, W, D], in [0, 1].
            network: the network.
            args: further arguments of the network.
            kwargs: likewise.

        Returns:
            Soft labels in [0, K - 1], float32, [B, branches, H, W] or [B, branches, H, W, D].
        """
        if inputs.ndim == 5:
            inputs = inputs.expand(-1, 3, -1, -1, -1)
            parts = [
                self(part.movedim(-1, 1).flatten(0, 1), network, *args, **kwargs).unflatten(0, (len(part), -1))
                for part in inputs.split(self.slices, dim=-1)
            ]
            return torch.cat(parts, dim=1).movedim(1, -1)
        with autocast(self.amp, inputs.device):
            if not hasattr(network, "predict_branches"):
                return network(inputs, *args, **kwargs).float()
            branches = network.predict_branches(inputs, *args, **kwargs)
        predictions = [network.combine(branches), *branches]
        return torch.cat([most_likely(prediction) for prediction in predictions], dim=1).float()
