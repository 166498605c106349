"""What the tools of MONAI and of its model zoo ask of a network."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Deployable"]

_EXAMPLE = (2, 3, 64, 128)  # a size that every first stage takes; others work as well, see `Deployable`


class Deployable(nn.Module):
    """A network that `torch.jit.script` exports and that loads the content of a `model.pt` as it is.

    MONAI's `ckpt_export`, with which the model zoo checks every bundle, scripts the network and loads the checkpoint
    without the name of an entry. Scripting follows a trace, which is right for batches and images of any size that the
    network takes.
    """

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in PyTorch; the content of a `model.pt` is taken for the weights in it."""
        if {"model", "architecture"} <= state_dict.keys():
            state_dict = state_dict["model"]
        return super().load_state_dict(state_dict, *args, **kwargs)

    def __prepare_scriptable__(self) -> nn.Module:
        """What `torch.jit.script` takes in place of the network."""
        device = next(self.parameters()).device
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # of checks and branches that hold for all sizes
            return _Traced(torch.jit.trace(self, torch.rand(_EXAMPLE, device=device), check_trace=False))


class _Traced(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)
