"""Passes that leave the running averages of batch normalisation as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["running_averages_on_hold"]


@contextmanager
def running_averages_on_hold(network: nn.Module) -> Iterator[None]:
    """Inside the context a pass in training mode normalises by its batch, but moves no running mean and variance.

    For inputs that are unlike what the network predicts later, by those averages: noise, cells, mixtures.

    >>> import torch
    >>> from custom.networks.running_averages import running_averages_on_hold
    >>> norm = torch.nn.BatchNorm2d(1)
    >>> with running_averages_on_hold(norm):
    ...     _ = norm(torch.full((2, 1, 4, 4), 5.0))
    >>> norm.running_mean.item(), norm.momentum
    (0.0, 0.1)

    Args:
        network: whose `BatchNorm` layers are held.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
