"""BS-Net: two networks that are each other's moving average and supervise each other (IEEE TMI 2024, 43(5), 1715)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import Adam

from custom.errors import InputError
from custom.methods.trainer import Batch, MethodTrainer
from custom.networks.training_networks import move_towards
from custom.optimizers import parameter_groups

__all__ = ["BSNet", "groups_of_both"]


class BSNet(MethodTrainer):
    """Three updates in each iteration: of the student a, which predicts, of a discriminator D, and of the teacher b.

    With a = min(1 - 1/(t + 1), 0.99), and nothing flowing back through targets:

    1. Student: L_sup(f_a) + lambda (MSE(p_a^u, p_b^u) + CE(f_a^u, argmax p_b^u) + CE(D(p_a^u, u), 1)), MSE and
       pseudo-labels after a share `start` of the run. Then b <- a b + (1 - a) a: its parameters move to the student's.
    2. Discriminator: CE(D(p_a, x), 1 for labelled and 0 for unlabelled rows), of a new pass of the student.
    3. Teacher: L_sup(f_b) + CE(f_b^u, argmax p_a^u) with that pass. Then a <- a a + (1 - a) b, with the same decay.

    So both networks are equal after the first iteration. Each has its own running statistics; both are in training
    mode. Without unlabelled images there are the two L_sup alone, and both moves.

    Source: the release's `newgan.py`; the paper was not seen beyond its abstract. Its other script, `BSNet.py`, cannot
    run and differs. The release has CE for L_sup.

    Args:
        start: share of the run, in [0, 1], after which the student learns from the teacher.
        discriminator_learning_rate: of Adam, of D, at the start.
        discriminator_decay: "polynomial", (1 - t/T)^0.9 of it, or "cumulative", as in the release, where that factor
            is applied to the last rate each time, so that D stops learning early.
        kwargs: see `MethodTrainer`; `network` is a `BSNetNetworks`, and `optimizer` holds both networks, see
            `groups_of_both`: each update moves that of the two which it concerns.

    Raises:
        InputError: unknown decay, or a start or learning rate out of range.
    """

    def __init__(
        self,
        *,
        start: float = 0.04,
        discriminator_learning_rate: float = 0.001,
        discriminator_decay: str = "polynomial",
        **kwargs: Any,
    ) -> None:
        if discriminator_decay not in ("polynomial", "cumulative"):
            raise InputError(f"discriminator_decay {discriminator_decay!r}: choose 'polynomial' or 'cumulative'")
        if not 0 <= start <= 1:
            raise InputError(f"start {start}: give a share of the run, from 0 to 1")
        if not discriminator_learning_rate > 0:
            raise InputError(f"discriminator_learning_rate {discriminator_learning_rate}: give a number above 0")
        super().__init__(**kwargs)
        self.start = start
        self.discriminator_learning_rate = discriminator_learning_rate
        self.discriminator_decay = discriminator_decay
        self.optimizers["discriminator"] = Adam(
            self.network.discriminator.parameters(),
            lr=discriminator_learning_rate,
            betas=(0.9, 0.99),
            weight_decay=1e-4,
        )

    @property
    def decay(self) -> float:
        """a of this iteration."""
        return min(1 - 1 / self.state.iteration, 0.99)

    def step(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.step`; the loss is the sum of those of student and teacher."""
        student, teacher = self.network.first, self.network.second
        student_loss, terms = self.student_loss(batch, weight)
        self.update(student_loss, self.optimizer)
        move_towards(teacher, student, self.decay)

        probabilities = None
        if batch.unlabelled:
            with torch.no_grad():
                probabilities = self.forward(student, batch.images).softmax(dim=1)
            terms["discriminator"] = self._update_discriminator(batch, probabilities)

        teacher_loss, teacher_terms = self.teacher_loss(batch, probabilities)
        self.update(teacher_loss, self.optimizer)
        move_towards(student, teacher, self.decay)
        return student_loss.detach() + teacher_loss.detach(), terms | teacher_terms

    def student_loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the first update; the discriminator gets no gradient from it."""
        labelled, discriminator = batch.labelled, self.network.discriminator
        logits = self.forward(self.network.first, batch.images)
        terms = {"supervised_first": self.loss_function(logits[:labelled], batch.labels)}
        if not batch.unlabelled:
            return terms["supervised_first"], terms
        images, logits = batch.images[labelled:], logits[labelled:]
        probabilities = logits.softmax(dim=1)
        discriminator.requires_grad_(False)
        answer = self.forward(discriminator, probabilities, images, method="forward")
        discriminator.requires_grad_(True)
        terms["adversarial"] = cross_entropy(answer, torch.ones_like(answer[:, 0], dtype=torch.long))
        unsupervised = terms["adversarial"]
        if self.progress >= self.start:
            with torch.no_grad():
                taught = self.forward(self.network.second, images).softmax(dim=1)
            terms["consistency"] = mse_loss(probabilities, taught)
            terms["cross_first"] = cross_entropy(logits, taught.argmax(dim=1))
            unsupervised = unsupervised + terms["consistency"] + terms["cross_first"]
        return terms["supervised_first"] + weight * unsupervised, terms

    def discriminator_loss(self, batch: Batch, probabilities: Tensor) -> Tensor:
        """The loss of the second update, from the student's softmax of all rows."""
        answer = self.forward(self.network.discriminator, probabilities, batch.images, method="forward")
        is_labelled = torch.arange(len(answer), device=answer.device) < batch.labelled
        return cross_entropy(answer, is_labelled.long())

    def teacher_loss(self, batch: Batch, probabilities: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the third update, from the student's softmax of all rows; None if all rows are labelled."""
        logits = self.forward(self.network.second, batch.images)
        terms = {"supervised_second": self.loss_function(logits[: batch.labelled], batch.labels)}
        if probabilities is None:
            return terms["supervised_second"], terms
        terms["cross_second"] = cross_entropy(logits[batch.labelled :], probabilities[batch.labelled :].argmax(dim=1))
        return terms["supervised_second"] + terms["cross_second"], terms

    def _update_discriminator(self, batch: Batch, probabilities: Tensor) -> Tensor:
        (group,) = self.optimizers["discriminator"].param_groups
        factor = (1 - self.progress) ** 0.9
        if self.discriminator_decay == "polynomial":
            group["lr"] = self.discriminator_learning_rate * factor
        loss = self.discriminator_loss(batch, probabilities)
        self.update(loss, self.optimizers["discriminator"])
        if self.discriminator_decay == "cumulative":
            group["lr"] *= factor
        return loss.detach()


def groups_of_both(
    networks: nn.Module, learning_rate: float, encoder_factor: float = 1.0, student: float = 1.0, teacher: float = 0.1
) -> list[dict[str, Any]]:
    """What an optimiser of both networks gets as `params`, see `parameter_groups`.

    Args:
        networks: a `BSNetNetworks`.
        learning_rate: the learning rate of all methods.
        encoder_factor: that of pretrained encoders over it.
        student: that of the student over it; 0.1 in the release, into which the teacher's schedule is written by a
            slip.
        teacher: that of the teacher over it.
    """
    groups: list[dict[str, Any]] = []
    for network, factor in ((networks.first, student), (networks.second, teacher)):
        rate = factor * learning_rate
        parts = parameter_groups(network, rate, encoder_factor)
        groups += parts if isinstance(parts[0], dict) else [{"params": parts, "lr": rate}]
    return groups
