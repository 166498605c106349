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

    Args:
        amp: run in bfloat16 where it is safe, on devices that have it, see `custom.precision.autocast`.
    """

    def __init__(self, amp: bool = False) -> None:
        super().__init__()
        self.amp = amp

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """Images [B, C, H, W] in [0, 1] -> soft labels [B, branches, H, W] in [0, K - 1], float32."""
        with autocast(self.amp, inputs.device):
            if not hasattr(network, "predict_branches"):
                return network(inputs, *args, **kwargs).float()
            branches = network.predict_branches(inputs, *args, **kwargs)
        predictions = [network.combine(branches), *branches]
        return torch.cat([most_likely(prediction) for prediction in predictions], dim=1).float()
