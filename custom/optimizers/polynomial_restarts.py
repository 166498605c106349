"""Polynomial decay with warm restarts."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from custom.errors import InputError

__all__ = ["PolynomialRestarts"]


class PolynomialRestarts(LambdaLR):
    """lr(t) = base * (1 - (t mod W) / W)^power, stepped every iteration.

    t is the iteration and W the length of a cycle. Both stages of the released SemiGDA code follow it; the paper does
    not state a schedule.

    Args:
        optimizer: the optimiser whose learning rates follow.
        total_iterations: iterations of the whole stage.
        cycles: number of cycles; 1 is a plain polynomial decay.
        power: exponent of the decay.
        restart: "exact": cycles of equal length, so that the last one ends with the stage.
            "release": W = floor(epochs / cycles) * epoch_length, which leaves a stray cycle for the remaining epochs.
        epoch_length: iterations of an epoch, used by "release" alone.

    Raises:
        InputError: unknown `restart`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iterations: int,
        cycles: int = 1,
        power: float = 0.9,
        restart: str = "exact",
        epoch_length: int = 1,
    ) -> None:
        if restart not in ("exact", "release"):
            raise InputError(f"restart {restart!r}: choose 'exact' or 'release'")
        if restart == "release":
            self.cycle_length = max(1, total_iterations // epoch_length // cycles) * epoch_length
        else:
            self.cycle_length = max(1, math.ceil(total_iterations / cycles))
        self.power = power
        super().__init__(optimizer, self._factor)

    def _factor(self, iteration: int) -> float:
        return (1 - (iteration % self.cycle_length) / self.cycle_length) ** self.power
