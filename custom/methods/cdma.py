"""CDMA: decoders of different attention distil their predictions into each other (Zhong et al., MICCAI 2023)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from custom.errors import InputError
from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["CrossDistillationOfAttentions", "distillation_loss", "entropy_of_mean"]


class CrossDistillationOfAttentions(MethodTrainer):
    """L = mean_i L_sup(f_i) + w (1/n sum_{i != j} KD(f_i, f_j) + H), over n decoders of different attention.

    KD is `distillation_loss`, of all ordered pairs, and H `entropy_of_mean`; both are over all rows, labelled ones too.
    The weight w is constant from `start` of the run on and 0 before, as in the release (`train_CDMA.py`), which begins
    in epoch 15 of 150. The first decoder predicts. Without unlabelled images L is the supervised loss.

    Args:
        temperature: T of the distillation.
        start: share of the run after which the decoders learn from each other.
        unsupervised_weight: w; None for lambda, which is ramped.
        kwargs: see `MethodTrainer`; `network` is an `AttentionUNet`.

    Raises:
        InputError: `start` is not in [0, 1], the temperature not positive, or the weight negative.
    """

    def __init__(
        self,
        *,
        temperature: float = 10.0,
        start: float = 0.1,
        unsupervised_weight: float | None = 0.1,
        **kwargs: Any,
    ) -> None:
        if not temperature > 0:
            raise InputError(f"temperature {temperature}: give a number above 0")
        if not 0 <= start <= 1:
            raise InputError(f"start {start}: give a share of the run, from 0 to 1")
        if unsupervised_weight is not None and not unsupervised_weight >= 0:
            raise InputError(f"unsupervised_weight {unsupervised_weight}: give a number from 0, or null for the ramp")
        super().__init__(**kwargs)
        self.temperature = temperature
        self.start = start
        self.unsupervised_weight = unsupervised_weight

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        all_logits = self.forward(self.network, batch.images, method="all_logits")
        supervised = [self.loss_function(logits[: batch.labelled], batch.labels) for logits in all_logits]
        terms = {"supervised": torch.stack(supervised).mean()}
        if not batch.unlabelled or self.progress < self.start:
            return terms["supervised"], terms
        pairs = [distillation_loss(*pair, self.temperature) for pair in itertools.permutations(all_logits, 2)]
        terms["distillation"] = torch.stack(pairs).sum() / len(all_logits)
        terms["entropy"] = entropy_of_mean(all_logits)
        weight = weight if self.unsupervised_weight is None else self.unsupervised_weight
        return terms["supervised"] + weight * (terms["distillation"] + terms["entropy"]), terms


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(sg[teacher] / T) || softmax(student / T)), the mean over images and pixels; 0 and larger.

    Args:
        student: logits [B, K, H, W].
        teacher: logits of the same shape, which get no gradient.
        temperature: T. A large one compares the logits themselves, each image's and pixel's minus their mean.
    """
    target = (teacher.detach() / temperature).log_softmax(dim=1)
    divergence = kl_div((student / temperature).log_softmax(dim=1), target, reduction="none", log_target=True)
    return temperature**2 * divergence.sum(dim=1).mean()


def entropy_of_mean(all_logits: Sequence[Tensor]) -> Tensor:
    """Entropy of the mean of several predictions over ln K, the mean over images and pixels; 0 to 1.

    The release divides by ln 2, as it has two classes.

    Args:
        all_logits: logits of each decoder, [B, K, H, W].
    """
    mean = torch.stack([logits.softmax(dim=1) for logits in all_logits]).mean(dim=0)
    return -(mean * (mean + 1e-6).log()).sum(dim=1).mean() / math.log(mean.shape[1])
