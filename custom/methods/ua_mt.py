"""UA-MT: consistency with a mean teacher where the teacher is certain (Yu et al., MICCAI 2019)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["UncertaintyAwareMeanTeacher"]


class UncertaintyAwareMeanTeacher(MethodTrainer):
    """L = L_sup + lambda L_cons, with L_cons over the unlabelled pixels of which the teacher is certain.

    The teacher sees the unlabelled images with noise n = clamp(0.1 N(0, 1), -0.2, 0.2). One pass gives its
    prediction, `passes` further ones (dropout on) the entropy U of their mean softmax. With the mask m = U < H(t),
    L_cons = sum(m (p_student - p_teacher)^2) / (2 sum(m) + 1e-16), the squares summed over classes too.
    H(t) = (0.75 + 0.25 exp(-5 (1 - t/T)^2)) ln 2.

    SSL4MIS keeps ln 2 for any number of classes, and so does this class: with K > 2 it requires more certainty.

    Args:
        passes: passes for the uncertainty (8; SSL4MIS makes them as 4 batches of two copies).
        noise: standard deviation of the noise; it is cut at twice that.
        kwargs: see `MethodTrainer`; `network` is a `MeanTeacher`.
    """

    def __init__(self, *, passes: int = 8, noise: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.passes = passes
        self.noise = noise

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        logits = self.forward(self.network.student, batch.images)
        supervised = self.loss_function(logits[: batch.labelled], batch.labels)
        terms = {"supervised": supervised}
        if not batch.unlabelled:
            return supervised, terms
        teacher, entropy = self._teacher_and_entropy(batch.images[batch.labelled :])
        threshold = (0.75 + 0.25 * math.exp(-5 * (1 - self.progress) ** 2)) * math.log(2)
        certain = (entropy < threshold).float()
        student = logits[batch.labelled :].softmax(dim=1)
        consistency = (certain * (student - teacher) ** 2).sum() / (2 * certain.sum() + 1e-16)
        terms |= {"consistency": consistency, "certain_share": certain.mean()}
        return supervised + weight * consistency, terms

    @torch.no_grad()
    def _teacher_and_entropy(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's softmax [B, K, H, W], and the entropy [B, 1, H, W] of its mean over further passes."""
        prediction = self._noisy_softmax(images)
        copies = self._noisy_softmax(images.repeat(self.passes, 1, 1, 1))
        mean = copies.unflatten(0, (self.passes, -1)).mean(dim=0)
        return prediction, -(mean * (mean + 1e-6).log()).sum(dim=1, keepdim=True)

    def _noisy_softmax(self, images: Tensor) -> Tensor:
        noise = (self.noise * torch.randn_like(images)).clamp(-2 * self.noise, 2 * self.noise)
        return self.forward(self.network.teacher, images + noise).softmax(dim=1)

    def after_step(self) -> None:
        """Move the teacher."""
        self.network.update_teacher()
