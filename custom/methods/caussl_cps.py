"""CauSSL with CPS: two networks whose filters shall not be combinations of each other's (Miao et al., ICCV 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from custom.errors import InputError
from custom.methods.cps import CrossPseudoSupervision
from custom.methods.trainer import Batch

__all__ = ["CrossPseudoSupervisionWithCauSSL", "best_coefficients", "explained_share"]


class CrossPseudoSupervisionWithCauSSL(CrossPseudoSupervision):
    """L = sum_i L_sup,i + 0.3 lambda CPS + 3 (I(1|2) + I(2|1)), as released (`train_CT_CPSCauSSL.py`).

    CPS are the two cross losses of `CrossPseudoSupervision`, from `cross_start` of the run on. I(1|2) is the mean over
    all convolutions j of `explained_share(W1_j, W2_j, P_j)`: how much of the first network's filters the combinations
    P_j of the second one's explain, W2 without gradient. I(2|1) is the same the other way round. A max step makes the P
    as good as it can; the network then lowers I with the P as they are:

    - "closed" sets the P to the best there are, `best_coefficients`. With them the gradient of I into the network is
      that of the maximum over P itself.
    - "adam" continues Adam (2e-2) on the P by `max_steps` steps, as released, from N(0, 0.001^2). These reach almost
      the same value.

    The first max step is at `independence_start` of the run, from where on I counts, the others follow every `interval`
    iterations. Convolutions of as many filters as weights in each, or more, are left out: their I is 1 whatever they
    are. Without unlabelled images L is the sum of the supervised losses.

    Args:
        inner: "closed" or "adam".
        interval: iterations from a max step to the next.
        max_steps: steps of Adam in each max step of "adam".
        cross_weight: factor of lambda, 0.3 in the release.
        cross_start: share of the run after which the networks give each other pseudo-labels.
        independence_weight: factor of I(1|2) + I(2|1).
        independence_start: share of the run after which I counts.
        kwargs: see `MethodTrainer`; `network` is a `NetworkPair` of two networks of the same layers.

    Raises:
        InputError: unknown `inner`, a share outside [0, 1], a negative weight, `interval` or `max_steps` below 1, or
            networks of different convolutions, or without one that can be compared.
    """

    def __init__(
        self,
        *,
        inner: str = "closed",
        interval: int = 60,
        max_steps: int = 60,
        cross_weight: float = 0.3,
        cross_start: float = 0.08,
        independence_weight: float = 3.0,
        independence_start: float = 0.108,
        **kwargs: Any,
    ) -> None:
        if inner not in ("closed", "adam"):
            raise InputError(f"inner {inner!r}: choose 'closed' or 'adam'")
        for name, value in (("cross_start", cross_start), ("independence_start", independence_start)):
            if not 0 <= value <= 1:
                raise InputError(f"{name} {value}: give a share of the run, from 0 to 1")
        for name, value in (("cross_weight", cross_weight), ("independence_weight", independence_weight)):
            if not value >= 0:
                raise InputError(f"{name} {value}: give a number from 0")
        for name, value in (("interval", interval), ("max_steps", max_steps)):
            if not value >= 1:
                raise InputError(f"{name} {value}: give a whole number from 1")
        super().__init__(**kwargs)
        self.inner = inner
        self.interval = interval
        self.max_steps = max_steps
        self.cross_weight = cross_weight
        self.cross_start = cross_start
        self.independence_weight = independence_weight
        self.independence_start = independence_start
        first, second = self._filters()
        if not first or [own.shape for own in first] != [other.shape for other in second]:
            raise InputError("CauSSL compares the filters of two networks: set network_def as its overlay does")
        deviation = 0.0 if inner == "closed" else 1e-3
        self.coefficients = nn.ParameterList(
            deviation * torch.randn(len(own), len(own), device=own.device) for own in [*first, *second]
        )
        self.coefficients_optimizer = torch.optim.Adam(self.coefficients.parameters(), lr=2e-2)

    def stateful_objects(self) -> dict[str, Any]:
        """The coefficients too, with which the networks are compared until the next max step."""
        own = {"coefficients": self.coefficients, "coefficients_optimizer": self.coefficients_optimizer}
        return {**super().stateful_objects(), **own}

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        cross_weight = self.cross_weight * weight if self.progress >= self.cross_start else 0.0
        loss, terms = super().loss(batch, cross_weight)
        elapsed = self._iterations_of_independence()
        if not batch.unlabelled or elapsed < 0:
            return loss, terms
        if elapsed % self.interval == 0:
            self.maximise()
        terms["independence_first"], terms["independence_second"] = self.independence()
        total = terms["independence_first"] + terms["independence_second"]
        return loss + self.independence_weight * total, terms

    def independence(self) -> tuple[Tensor, Tensor]:
        """I(1|2) and I(2|1), each in [0, 1]; no gradient into the coefficients."""
        shares = self._shares([each.detach() for each in self.coefficients])
        convolutions = len(shares) // 2
        return torch.stack(shares[:convolutions]).mean(), torch.stack(shares[convolutions:]).mean()

    def _shares(self, coefficients: Iterable[Tensor]) -> list[Tensor]:
        """`explained_share` of each convolution of the first network, then of each of the second one."""
        first, second = self._filters()
        return [explained_share(*each) for each in zip([*first, *second], [*second, *first], coefficients, strict=True)]

    def maximise(self) -> None:
        """The max step."""
        if self.inner == "closed":
            first, second = self._filters()
            for coefficients, own, other in zip(self.coefficients, [*first, *second], [*second, *first], strict=True):
                coefficients.data = best_coefficients(own, other)
            return
        for _ in range(self.max_steps):
            self.coefficients_optimizer.zero_grad()
            loss = -torch.stack(self._shares(self.coefficients)).sum() / (len(self.coefficients) / 2)
            loss.backward(inputs=list(self.coefficients))
            self.coefficients_optimizer.step()

    def _iterations_of_independence(self) -> int:
        """How many iterations ago I began to count: 0 in the first one; negative before."""
        state = self.state
        start = math.ceil(self.independence_start * state.epoch_length * state.max_epochs)
        return state.iteration - 1 - start

    def _filters(self) -> tuple[list[Tensor], list[Tensor]]:
        """The compared convolutions of both networks, each [filters, weights of a filter]."""
        return tuple(
            [
                module.weight.flatten(1)
                for module in network.modules()
                if isinstance(module, nn.Conv2d) and len(module.weight) < module.weight[0].numel()
            ]
            for network in (self.network.first, self.network.second)
        )


def explained_share(own: Tensor, other: Tensor, coefficients: Tensor) -> Tensor:
    """Mean over the rows of cos(own, coefficients other)^2, in [0, 1]; no gradient into `other`.

    >>> import torch
    >>> from custom.methods.caussl_cps import explained_share
    >>> own, other = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])
    >>> round(explained_share(own, other, torch.ones(1, 1)).item(), 2)
    0.36

    Args:
        own: filters of the network that shall be independent, [o, d].
        other: those of the other network, [o, d].
        coefficients: P, [o, o], a row for each of the own filters.
    """
    combined = normalize(coefficients @ other.detach(), dim=1)
    return (combined * normalize(own, dim=1)).sum(dim=1).square().mean()


@torch.no_grad()
def best_coefficients(own: Tensor, other: Tensor) -> Tensor:
    """The coefficients, [o, o], of the largest `explained_share`: those of the projections onto the other's rows.

    P = W1 W2^T (W2 W2^T + e)^-1, e = 1e-6 of the mean squared length of the rows of W2, where these are dependent. The
    released code does not have this form; it follows from the formula.

    Args:
        own: W1, [o, d].
        other: W2, [o, d].
    """
    products = other @ other.T
    products.diagonal().add_(1e-6 * products.diagonal().mean() + torch.finfo(products.dtype).tiny)
    return torch.linalg.solve(products, other @ own.T).T.contiguous()
