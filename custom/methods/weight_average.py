"""The exponential moving average of a network's weights, with which it is validated and saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from custom.errors import InputError

__all__ = ["WeightAverage"]


class WeightAverage:
    """Moving average of everything of a network that training changes, running statistics too.

    At update t, from 0, the average becomes a * average + (1 - a) * weights with a = min(t / (10 + t), decay). So the
    first update copies the weights, whatever was loaded before, and a short run is not held back by its start.

    PyTorch's `AveragedModel` and Ignite's `EMAHandler` copy the whole network, with the frozen autoencoder, and leave
    the exchange for validation to others.

    >>> import torch
    >>> from custom.methods import WeightAverage
    >>> layer = torch.nn.Linear(1, 1, bias=False)
    >>> _ = layer.weight.data.fill_(0.0)
    >>> average = WeightAverage(layer, decay=0.5)
    >>> _ = layer.weight.data.fill_(1.0)
    >>> average.update()
    >>> with average.in_use():
    ...     layer.weight.item()
    1.0
    >>> _ = layer.weight.data.fill_(2.0)
    >>> average.update()
    >>> with average.in_use():
    ...     round(layer.weight.item(), 3)
    1.909
    >>> layer.weight.item()
    2.0

    Args:
        network: the network; of one with `trainable_state_dict` only that part is averaged.
        decay: the largest a, between 0 and 1.

    Raises:
        InputError: `decay` is out of range.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise InputError(f"ema_decay {decay}: give a number between 0 and 1, or null for no moving average")
        self.network = network
        self.decay = decay
        self.updates = 0
        self.weights = {name: tensor.detach().clone() for name, tensor in self._current().items()}

    def _current(self) -> dict[str, Tensor]:
        """The network's own tensors, not copies."""
        network = self.network
        return network.trainable_state_dict() if hasattr(network, "trainable_state_dict") else network.state_dict()

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights, after each step of the optimiser."""
        decay = min(self.updates / (10 + self.updates), self.decay)
        self.updates += 1
        for name, tensor in self._current().items():
            average = self.weights[name]
            if average.is_floating_point():
                average.lerp_(tensor, 1 - decay)
            else:  # numbers of batches seen
                average.copy_(tensor)

    @torch.no_grad()
    def exchange(self) -> None:
        """Put the average into the network and keep the weights in its place; a second call undoes it.

        Before the first update there is no average, and nothing happens.
        """
        if not self.updates:
            return
        for name, tensor in self._current().items():
            kept = tensor.clone()
            tensor.copy_(self.weights[name])
            self.weights[name].copy_(kept)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """The network has the average inside the context, and its own weights again after it."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    def state_dict(self) -> dict[str, Any]:
        """What must be saved to continue exactly."""
        return {"updates": self.updates, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave.

        Raises:
            KeyError, RuntimeError: it is that of another network.
        """
        for name, average in self.weights.items():
            average.copy_(state["weights"][name])
        self.updates = state["updates"]
