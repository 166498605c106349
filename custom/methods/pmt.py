"""PMT: two mean teachers that are trained in turns, so that they stay different (Gao et al., ECCV 2024)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from custom.errors import InputError
from custom.methods.mcf import MutualCorrection, differing, rectification
from custom.methods.trainer import Batch

__all__ = ["ProgressiveMeanTeacher", "Turn"]

RAMP = 1 / 8
"""The share of a student's updates after which its unsupervised weights are full: 3000 of 24000 in the release."""


class Turn(NamedTuple):
    """Whose turn an iteration is.

    Attributes:
        active: the student that is trained, 0 or 1.
        is_first: whether it is the student's first turn.
        share: of all of the student's updates in the run, how many are over, in [0, 1).
    """

    active: int
    is_first: bool
    share: float

    @classmethod
    def of(cls, iteration: int, total: int, block: int) -> Turn:
        """The turn of an iteration, counted from 0, of `total`; at most `block` iterations make a turn.

        A turn is no longer than an eighth of the run, so that in short runs too each student has several.

        >>> from custom.methods.pmt import Turn
        >>> [Turn.of(iteration, total=64, block=2).active for iteration in range(6)]
        [0, 0, 1, 1, 0, 0]
        """
        length = max(min(block, total // 8), 1)
        number, place = divmod(iteration, length)
        rounds, rest = divmod(total, 2 * length)
        in_last_round = max(rest - length, 0) if number % 2 else min(rest, length)
        share = (number // 2 * length + place) / (rounds * length + in_last_round)
        return cls(number % 2, number < 2, share)


class ProgressiveMeanTeacher(MutualCorrection):
    """L = L_sup + s (b w_rect R + b w_co r mean((p - q_o)^2) + w_t r mean((p - q_t)^2)) of the student in its turn.

    Two students have a teacher each and take turns of `block` iterations; the other student stays as it is meanwhile,
    and so does its teacher. q_o and q_t are the sharpened softmax of the other student and of the own teacher for the
    unlabelled rows, R is the `rectification` of labelled pixels where the students differ, and b is 1 where the other
    student has the smaller Dice loss on the labelled rows of this batch, else 0. In a student's first turn b is 0.
    r = exp(-5 (1 - min(8 u, 1))^2), with u the share of the student's own updates that is over. lambda is not used.

    In the release (`train_PMT.py`) a student is trained on the batches of the other one's turn again, and then on as
    many new ones; here each iteration has a batch of its own, and each student half of the updates (inferred). Without
    unlabelled images L has no terms with q. The first student predicts.

    Args:
        block: iterations of a turn, at most an eighth of the run.
        co_training_weight: w_co.
        teacher_weight: w_t.
        kwargs: see `MutualCorrection`; `network` is a pair of `MeanTeacher`s.

    Raises:
        InputError: a block below 1, a negative weight, or a temperature or scale that is not positive.
    """

    def __init__(
        self, *, block: int = 80, co_training_weight: float = 20.0, teacher_weight: float = 10.0, **kwargs: Any
    ) -> None:
        if not block >= 1:
            raise InputError(f"block {block}: give 1 iteration or more")
        for name, value in (("co_training_weight", co_training_weight), ("teacher_weight", teacher_weight)):
            if not value >= 0:
                raise InputError(f"{name} {value}: give 0 or more")
        super().__init__(**kwargs)
        self.block = block
        self.co_training_weight = co_training_weight
        self.teacher_weight = teacher_weight

    @property
    def turn(self) -> Turn:
        """The turn of this iteration."""
        state = self.state
        return Turn.of(state.iteration - 1, state.epoch_length * state.max_epochs, self.block)

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        turn, count = self.turn, batch.labelled
        pairs = (self.network.first, self.network.second)
        active, other = pairs[turn.active], pairs[1 - turn.active]
        ramp = math.exp(-5 * (1 - min(turn.share / RAMP, 1)) ** 2)
        logits = self.forward(active.student, batch.images)
        terms = {"supervised": self.loss_function(logits[:count], batch.labels), "active": float(turn.active)}
        added = []
        if not turn.is_first:
            with torch.no_grad():
                others = self.forward(other.student, batch.images)
            better = self.error(others[:count], batch.labels) < self.error(logits[:count], batch.labels)
            differ = differing(logits[:count], others[:count], batch.labels)
            terms["rectified"] = rectification(logits[:count], batch.labels, differ)
            terms |= {"other_is_better": better.float(), "difference_share": differ.float().mean()}
            added.append(better * self.rectification_weight * terms["rectified"])
            if batch.unlabelled:
                terms["co_training"] = self.distance_to(logits[count:], others[count:])
                added.append(better * self.co_training_weight * ramp * terms["co_training"])
        if batch.unlabelled:
            with torch.no_grad():
                taught = self.forward(active.teacher, batch.images[count:])
            terms["teacher"] = self.distance_to(logits[count:], taught)
            added.append(self.teacher_weight * ramp * terms["teacher"])
        return terms["supervised"] + self.loss_scale * sum(added), terms

    def after_step(self) -> None:
        """Move the teacher of the student that was trained."""
        (self.network.second if self.turn.active else self.network.first).update_teacher()
