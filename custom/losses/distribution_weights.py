"""Class weights from how rare each class is in labels and pseudo-labels (DHC's DistDW)."""

from __future__ import annotations

from collections.abc import Sequence

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from custom.errors import InputError

__all__ = ["DistributionWeights"]


class DistributionWeights(nn.Module):
    """Weights w [K] that follow w_c = K v_c / max v, v_c = ln(N_max / N_c), of the numbers of pixels N_c.

    At first N_c are those of the labels. Each update moves the weights towards those of the pseudo-labels of the last
    `window` updates, by a moving average. **The most frequent class has v = ln 1 = 0**: with two classes the weights
    are (0, 2), the background counts nowhere in a weighted cross-entropy. `floor` gives it a weight.

    A class without a single pixel among them keeps its weight. The released code counts one batch, and gives such a
    class v = ln(N_max / 1e-8), beside which all others are nearly 0: rare in volumes and the rule in slices. The state
    is in buffers; several processes add their pixels.

    >>> from custom.losses import DistributionWeights
    >>> DistributionWeights(3, shares=[64, 8, 1]).weights().round(decimals=2).tolist()
    [0.0, 1.5, 3.0]
    >>> DistributionWeights(2, shares=[0.9, 0.1], floor=0.25).weights().tolist()
    [0.5, 2.0]

    Args:
        num_classes: K, with the background.
        shares: the share of each class in the labels, or its pixels, [K]; None begins with w = K for each class.
        floor: the least weight as a share of K; 0 in the released code.
        window: updates whose pseudo-labels are counted together; 1 in the released code.
        momentum: of the moving average.

    Raises:
        InputError: `shares` has another length or no positive number, or `floor` or `window` is out of range.
    """

    def __init__(
        self,
        num_classes: int,
        shares: Sequence[float] | None = None,
        floor: float = 0.0,
        window: int = 50,
        momentum: float = 0.99,
    ) -> None:
        if not 0 <= floor <= 1:
            raise InputError(f"floor {floor}: give the least weight as a share of the number of classes, from 0 to 1")
        if not window >= 1:
            raise InputError(f"window {window}: give a number of iterations from 1")
        if shares is not None and (len(shares) != num_classes or min(shares) < 0 or max(shares) <= 0):
            raise InputError(f"class_shares {list(shares)}: give the share of each of the {num_classes} classes")
        super().__init__()
        self.floor = floor
        self.momentum = momentum
        self.register_buffer("average", torch.full((num_classes,), float(num_classes)))
        self.register_buffer("counts", torch.zeros(window, num_classes))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        if shares is not None:
            self._move(torch.tensor(shares, dtype=torch.float), momentum=0.0)

    @torch.no_grad()
    def update(self, pseudo_labels: Tensor) -> Tensor:
        """Take in pseudo-labels, class indices of any shape, int64; the new weights [K]."""
        counts = torch.bincount(pseudo_labels.flatten(), minlength=len(self.average)).to(self.counts)
        self.counts[int(self.updates) % len(self.counts)] = idist.all_reduce(counts)
        self.updates += 1
        self._move(self.counts.sum(dim=0), self.momentum)
        return self.weights()

    def weights(self) -> Tensor:
        """The weights [K] of the last update."""
        return self.average.clamp_min(self.floor * len(self.average))

    def _move(self, numbers: Tensor, momentum: float) -> None:
        """Move the average towards the weights of these numbers of pixels [K]."""
        present = numbers > 0
        rarity = (numbers.max() / numbers.clamp_min(torch.finfo().tiny)).log()
        largest = torch.where(present, rarity, 0).max()
        weights = len(numbers) * rarity / largest
        moves = present & (largest > 0)  # with one class alone, or all equally frequent, nothing is rare
        self.average.copy_(torch.where(moves, momentum * self.average + (1 - momentum) * weights, self.average))
