"""FixMatch: confident pseudo-labels of a weak view supervise a strong view (Sohn et al., NeurIPS 2020)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from custom.errors import InputError
from custom.losses import complementary_loss, confident_pseudo_labels
from custom.methods.trainer import Batch, MethodTrainer, dice_and_cross_entropy

__all__ = ["FixMatch"]

THRESHOLDS = {"masked": 0.95, "ssl4mis": 0.8}


class FixMatch(MethodTrainer):
    """L = L_sup + lambda L_u, with pseudo-labels from the weak view of unlabelled images for their strong view.

    The weak view is the image as other methods see it, the strong view ("strong_image") the same in other colours.
    With p the softmax of the weak view, y = argmax p, and q the strong view's softmax, the default "masked" is
    L_u = 1 / N sum over all N unlabelled pixels of 1[max p > threshold] CE(q, y).
    The sum is divided by all N pixels, as in the paper: what is not certain counts as zero, so that L_u grows with the
    certainty. Labelled images, weak and strong unlabelled ones go through the network as one batch.

    "ssl4mis" is the variant of SSL4MIS (`train_fixmatch_standard_augs.py`), the baseline of DiffRect too:
    L_sup = CE + Dice, L_u = CE + Dice of the strong view + a comp, where uncertain pixels of the pseudo-labels are
    background (`confident_pseudo_labels`), and comp with its factor a is the `complementary_loss` over all images,
    labelled ones too. Both views of all images go through the network, one view after the other. SSL4MIS also keeps a
    moving average of the network, which it does not use; we do not.

    Args:
        pseudo: "masked" or "ssl4mis".
        threshold: confidence which a pseudo-label needs: a probability for "masked" (None: 0.95), a min-max normalised
            one for "ssl4mis" (None: 0.8).
        kwargs: see `MethodTrainer`; `network` is a `UNet`. `loss_function` is by default (CE + Dice) / 2 for "masked",
            CE + Dice for "ssl4mis".

    Raises:
        InputError: unknown `pseudo`, or a threshold outside [0, 1].
    """

    strong_views = 1

    def __init__(self, *, pseudo: str = "masked", threshold: float | None = None, **kwargs: Any) -> None:
        if pseudo not in THRESHOLDS:
            raise InputError(f"pseudo {pseudo!r}: choose 'masked' or 'ssl4mis'")
        threshold = THRESHOLDS[pseudo] if threshold is None else threshold
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold {threshold}: give a confidence from 0 to 1")
        self.pseudo = pseudo
        self.threshold = threshold
        super().__init__(**kwargs)

    def default_loss(self) -> nn.Module:
        """CE + Dice, or the mean of both for "masked"."""
        weight = 1.0 if self.pseudo == "ssl4mis" else 0.5
        return dice_and_cross_entropy(weight, weight)

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        if not batch.unlabelled:
            supervised = self.loss_function(self.forward(self.network, batch.images), batch.labels)
            return supervised, {"supervised": supervised}
        return self._masked(batch, weight) if self.pseudo == "masked" else self._ssl4mis(batch, weight)

    def _masked(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        views = torch.cat([batch.images, batch.unlabelled_strong_views[0]])
        labelled, weak, strong = self.forward(self.network, views).split(
            [batch.labelled, batch.unlabelled, batch.unlabelled]
        )
        supervised = self.loss_function(labelled, batch.labels)
        confidence, pseudo_labels = weak.detach().softmax(dim=1).max(dim=1)
        certain = (confidence > self.threshold).float()
        consistency = (certain * cross_entropy(strong, pseudo_labels, reduction="none")).mean()
        terms = {"supervised": supervised, "consistency": consistency, "certain_share": certain.mean()}
        return supervised + weight * consistency, terms

    def _ssl4mis(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        weak = self.forward(self.network, batch.images)
        strong = self.forward(self.network, batch.strong_views[0])
        supervised = self.loss_function(weak[: batch.labelled], batch.labels)
        pseudo_labels = confident_pseudo_labels(weak[batch.labelled :], self.threshold)
        positive = self.loss_function(strong[batch.labelled :], pseudo_labels)
        complementary, factor = complementary_loss(strong, weak)
        consistency = positive + factor * complementary
        terms = {"supervised": supervised, "consistency": consistency, "complementary": complementary}
        return supervised + weight * consistency, terms
