"""ICT: consistency with a mean teacher on mixtures of two images (Verma et al., IJCAI 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Beta

from custom.errors import InputError
from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["InterpolationConsistency"]


class InterpolationConsistency(MethodTrainer):
    """L = L_sup + lambda L_cons, with L_cons = mean (p_student(mix(u0, u1)) - mix(p_teacher(u0), p_teacher(u1)))^2.

    mix(a, b) = (1 - f) a + f b, with f ~ Beta(alpha, alpha) for each pair; p are softmax outputs, and the mean goes
    over pairs, classes and pixels. u0 is the first half of the unlabelled rows, u1 the second one, so that a batch with
    two unlabelled images has one mixture. Of an odd number the middle image is in both halves: a single image is
    "mixed" with itself, which leaves a mean teacher's consistency. The student sees labelled images and mixtures in one
    batch. The teacher sees all unlabelled images in one: SSL4MIS passes each half alone, so that with two unlabelled
    images batch normalisation would have a single image.

    Args:
        alpha: both parameters of the Beta distribution (0.2); the smaller, the closer is f to 0 or 1.
        kwargs: see `MethodTrainer`; `network` is a `MeanTeacher`.

    Raises:
        InputError: alpha is not positive.
    """

    def __init__(self, *, alpha: float = 0.2, **kwargs: Any) -> None:
        if not alpha > 0:
            raise InputError(f"alpha {alpha}: the Beta distribution of ICT needs a number above 0")
        super().__init__(**kwargs)
        self.factors = Beta(float(alpha), float(alpha))

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        labelled, unlabelled = batch.images[: batch.labelled], batch.images[batch.labelled :]
        factor = self.factors.sample(((batch.unlabelled + 1) // 2, 1, 1, 1)).to(unlabelled)
        logits = self.forward(self.network.student, torch.cat([labelled, _mix_halves(unlabelled, factor)]))
        supervised = self.loss_function(logits[: batch.labelled], batch.labels)
        terms = {"supervised": supervised}
        if not batch.unlabelled:
            return supervised, terms
        target = _mix_halves(self._teacher_softmax(unlabelled), factor)
        consistency = ((logits[batch.labelled :].softmax(dim=1) - target) ** 2).mean()
        return supervised + weight * consistency, terms | {"consistency": consistency}

    @torch.no_grad()
    def _teacher_softmax(self, images: Tensor) -> Tensor:
        return self.forward(self.network.teacher, images).softmax(dim=1)

    def after_step(self) -> None:
        """Move the teacher."""
        self.network.update_teacher()


def _mix_halves(rows: Tensor, factor: Tensor) -> Tensor:
    """(1 - factor) times the first half of the rows + factor times the second one; factor is [pairs, 1, 1, 1]."""
    pairs = len(factor)
    return torch.lerp(rows[:pairs], rows[len(rows) - pairs :], factor)
