"""The ramped weight of the unsupervised losses."""

from __future__ import annotations

import math

from custom.errors import InputError

__all__ = ["ConsistencyWeight"]


class ConsistencyWeight:
    """lambda(t) = beta * exp(-5 (1 - t)^2), the Gaussian ramp-up of semi-supervised training (paper section 3.5).

    >>> from custom.losses import ConsistencyWeight
    >>> weight = ConsistencyWeight(beta=0.1)
    >>> [round(weight(iteration, epoch_length=10, max_epochs=10), 4) for iteration in (0, 50, 100)]
    [0.0007, 0.0287, 0.1]

    Args:
        beta: the weight at the end of the ramp. 0.3 in the released code, 0.1 in the paper.
        ramp: "iteration": t runs from 0 to 1 over all iterations of the stage (paper).
            "release": t = min(floor(i / floor(1.75 L)), 200) / 200 with iteration i and L iterations per epoch.
            "release_epoch": t = floor(epoch / L) / 200, which the released stage 1 computes by an error.

    Raises:
        InputError: unknown ramp.
    """

    def __init__(self, beta: float = 0.3, ramp: str = "iteration") -> None:
        if ramp not in ("iteration", "release", "release_epoch"):
            raise InputError(f"ramp {ramp!r}: choose 'iteration', 'release' or 'release_epoch'")
        self.beta = beta
        self.ramp = ramp

    def __call__(self, iteration: int, epoch_length: int, max_epochs: int) -> float:
        """The weight at an iteration counted from 0, with `epoch_length` iterations in each of `max_epochs` epochs."""
        if self.ramp == "iteration":
            t = iteration / (epoch_length * max_epochs)
        elif self.ramp == "release":
            t = min(iteration // max(1, math.floor(1.75 * epoch_length)), 200) / 200
        else:
            t = min((iteration // epoch_length) // epoch_length, 200) / 200
        return self.beta * math.exp(-5 * (1 - t) ** 2)
