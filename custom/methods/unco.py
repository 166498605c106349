"""UnCo: two mean teachers, each estimates how uncertain the other one's targets are (Zeng et al., IEEE TMI 2025)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, mse_loss

from custom.errors import InputError
from custom.methods.trainer import Batch, MethodTrainer, dice_and_cross_entropy
from custom.transforms import BatchColourJitter

__all__ = ["UncertaintyCoEstimator", "Taught", "uncertainties", "weighted_distance"]


class Taught(NamedTuple):
    """What a teacher says of unlabelled images, each [B, K, H, W].

    Attributes:
        plain: q, its softmax of the images as they are.
        mean: qbar, its mean softmax of copies in other colours.
        variance: the mean of (q_a - qbar)^2 over these copies a.
    """

    plain: Tensor
    mean: Tensor
    variance: Tensor


class UncertaintyCoEstimator(MethodTrainer):
    """L = sum_m L_sup,m + s (w_int lambda sum_m L_int,m + w_ext lambda sum_m L_ext,m + w_adv L_adv), m = 1, 2.

    Student m sees the labelled rows as they are, and in a second pass the unlabelled ones in other colours, which gives
    p_m. Its teacher gives q_m for the unlabelled rows as they are, and an uncertainty from copies in other colours.
    With o the other one of the two:

    * L_int,m = mean((p_m - q_m)^2), over rows, classes and pixels.
    * L_ext,m = mean over rows of sum(W_o (p_m - q_o)^2) / (sum W_o + 1e-16), W_o = exp(-U_o), see `uncertainties`.
    * L_adv = 1 + cos(theta_1, theta_2), of all parameters of the students as two vectors: it drives them apart.

    As in the release (`unco_ACDC.py`), but L_adv: there, by an error, both vectors hold the second student's parameters
    in all places but that of the first tensor. Its gradient then reaches nothing else of the first student, and the
    second one twice. Without unlabelled images L is the sum of both supervised losses. The first student predicts.

    Args:
        copies: of each image in other colours, for the uncertainty.
        internal_weight: w_int.
        external_weight: w_ext.
        adversary_weight: w_adv.
        released_adversary: L_adv with the release's error.
        loss_scale: s. L_sup is s (CE + Dice); the release has 1.
        colours: what changes the colours, called with images and a probability: 0.8 for the students, 1 for the
            teachers. None for that of the release, drawn for each image rather than for the batch.
        kwargs: see `MethodTrainer`; `network` is a pair of `MeanTeacher`s.

    Raises:
        InputError: `copies` below 1, a negative weight, or a scale that is not positive.
    """

    def __init__(
        self,
        *,
        copies: int = 5,
        internal_weight: float = 25.0,
        external_weight: float = 10.0,
        adversary_weight: float = 1.0,
        released_adversary: bool = False,
        loss_scale: float = 0.5,
        colours: Callable[..., Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        weights = {"internal": internal_weight, "external": external_weight, "adversary": adversary_weight}
        for name, value in weights.items():
            if not value >= 0:
                raise InputError(f"{name}_weight {value}: give 0 or more")
        if not copies >= 1:
            raise InputError(f"copies {copies}: give 1 or more")
        if not loss_scale > 0:
            raise InputError(f"loss_scale {loss_scale}: give a number above 0")
        self.loss_scale = loss_scale
        super().__init__(**kwargs)
        self.copies = copies
        self.weights = weights
        self.released_adversary = released_adversary
        self.colours = BatchColourJitter() if colours is None else colours

    def default_loss(self) -> nn.Module:
        """s (CE + Dice)."""
        return dice_and_cross_entropy(self.loss_scale, self.loss_scale)

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        labelled, unlabelled = batch.images[: batch.labelled], batch.images[batch.labelled :]
        pairs = {"first": self.network.first, "second": self.network.second}
        terms = {
            f"supervised_{name}": self.loss_function(self.forward(pair.student, labelled), batch.labels)
            for name, pair in pairs.items()
        }
        loss = sum(terms.values())
        if not batch.unlabelled:
            return loss, terms
        taught = [self._teach(pair.teacher, unlabelled) for pair in pairs.values()]
        doubts = uncertainties(*taught)
        for (name, pair), own, other, doubt in zip(
            pairs.items(), taught, reversed(taught), reversed(doubts), strict=True
        ):
            strong = self.forward(pair.student, self.colours(unlabelled, 0.8)).softmax(dim=1)
            terms[f"internal_{name}"] = mse_loss(strong, own.plain)
            terms[f"external_{name}"] = weighted_distance(strong, other.plain, doubt)
            consistency = self.weights["internal"] * terms[f"internal_{name}"]
            consistency = consistency + self.weights["external"] * terms[f"external_{name}"]
            loss = loss + self.loss_scale * weight * consistency
        terms["adversary"], adversary = self._adversary()
        terms["uncertainty"] = (doubts[0].mean() + doubts[1].mean()) / 2
        return loss + self.loss_scale * self.weights["adversary"] * adversary, terms

    @torch.no_grad()
    def _teach(self, teacher: nn.Module, images: Tensor) -> Taught:
        copies = torch.cat([self.colours(images, 1.0) for _ in range(self.copies)])
        answers = self.forward(teacher, copies).softmax(dim=1).unflatten(0, (self.copies, -1))
        plain = self.forward(teacher, images).softmax(dim=1)
        return Taught(plain, answers.mean(dim=0), answers.var(dim=0, correction=0))

    def _adversary(self) -> tuple[Tensor, Tensor]:
        """L_adv, and what enters the loss: the same, or with the release's error both of its gradients."""
        students = self.network.first.student, self.network.second.student
        # PyTorch's `parameters_to_vector` refuses weights in channels-last memory order.
        first, second = (torch.cat([each.flatten() for each in student.parameters()]) for student in students)
        if not self.released_adversary:
            value = 1 + cosine_similarity(first, second, dim=0)
            return value, value
        size = next(students[0].parameters()).numel()
        mixed, fixed = (torch.cat([part[:size], second[size:]]) for part in (first, first.detach()))
        value, again = (1 + cosine_similarity(vector, second, dim=0) for vector in (mixed, fixed))
        return value, value + again

    def after_step(self) -> None:
        """Move both teachers."""
        self.network.first.update_teacher()
        self.network.second.update_teacher()


def uncertainties(first: Taught, second: Taught) -> tuple[Tensor, Tensor]:
    """U_1 and U_2 of each pixel and class, [B, K, H, W], in [0, 0.75], of two teachers.

    U_m = ((qbar_1 - qbar_2)^2 + (mean of (q_m,a - qbar_m)^2 over copies a) + (q_1 - q_2)^2) / 3.
    """
    between = (first.mean - second.mean) ** 2 + (first.plain - second.plain) ** 2
    return (between + first.variance) / 3, (between + second.variance) / 3


def weighted_distance(prediction: Tensor, target: Tensor, uncertainty: Tensor) -> Tensor:
    """Mean over rows of sum(W (p - q)^2) / (sum W + 1e-16), W = exp(-U), the sums over classes and pixels."""
    weights = (-uncertainty).exp()
    sums = (weights * (prediction - target) ** 2).sum(dim=(1, 2, 3))
    return (sums / (weights.sum(dim=(1, 2, 3)) + 1e-16)).mean()
