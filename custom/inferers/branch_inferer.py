"""Inference that keeps the branches apart."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer, sliding_window_inference
from torch import Tensor, nn
from torch.nn.functional import one_hot

from custom.labels import most_likely
from custom.precision import autocast

__all__ = ["BranchInferer"]

OVERLAP = 0.25  # of neighbouring windows
WINDOWS_AT_ONCE = 4


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
        window: side of the square that the network was trained for: larger images are predicted in overlapping windows
            of it, blended where they overlap (class numbers without an order: by the largest share). None predicts
            every image whole.
    """

    def __init__(self, amp: bool = False, slices: int = 8, window: int | None = None) -> None:
        super().__init__()
        self.amp = amp
        self.slices = slices
        self.window = window
        self.overlap = OVERLAP
        self.windows_at_once = WINDOWS_AT_ONCE

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
        if isinstance(inputs, MetaTensor):  # which would be copied in each operation of the network
            return MetaTensor(self(inputs.as_tensor(), network, *args, **kwargs)).copy_meta_from(inputs)
        if inputs.ndim == 5:
            inputs = inputs.expand(-1, 3, -1, -1, -1)
            parts = [
                self(part.movedim(-1, 1).flatten(0, 1), network, *args, **kwargs).unflatten(0, (len(part), -1))
                for part in inputs.split(self.slices, dim=-1)
            ]
            return torch.cat(parts, dim=1).movedim(1, -1)
        if self.window is not None and max(inputs.shape[2:]) > self.window:
            return self._predict_windows(inputs, network, *args, **kwargs)
        return self._predict(inputs, network, *args, **kwargs)

    def _predict(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        with autocast(self.amp, inputs.device):
            if getattr(network, "predict_branches", None) is None:
                return network(inputs, *args, **kwargs).float()
            branches = network.predict_branches(inputs, *args, **kwargs)
        predictions = [network.combine(branches), *branches]
        return torch.cat([most_likely(prediction) for prediction in predictions], dim=1).float()

    def _predict_windows(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        def predict(windows: Tensor) -> Tensor:
            return self.to_blend(windows, network, *args, **kwargs)

        settings = {"roi_size": (self.window, self.window), "sw_batch_size": self.windows_at_once}
        settings |= {"overlap": self.overlap, "mode": "gaussian"}
        return self.from_blend(sliding_window_inference(inputs, predictor=predict, **settings), network)

    def to_blend(self, windows: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        """What is averaged where windows overlap: soft labels, or the shares of classes that have no order.

        Args:
            windows: [B, 3, H, W] in [0, 1].
            network: the network.
            args: further arguments of the network.
            kwargs: likewise.

        Returns:
            [B, branches, H, W], or [B, branches * K, H, W], float32.
        """
        soft = self._predict(windows, network, *args, **kwargs)
        classes = _unordered_classes(network)
        return soft if classes is None else one_hot(soft.long(), classes).movedim(-1, 2).flatten(1, 2).float()

    def from_blend(self, blended: Tensor, network: nn.Module) -> Tensor:
        """Soft labels [B, branches, H, W] of the means of what `to_blend` gives."""
        classes = _unordered_classes(network)
        return blended if classes is None else blended.unflatten(1, (-1, classes)).argmax(dim=2).float()


def _unordered_classes(network: nn.Module) -> int | None:
    return network.num_classes if getattr(network, "hard_labels", False) else None
