"""GA-CPS: CPS with the gradient-aware losses GADice and GACE (Qi, Wu and Chan, ECCV 2024)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from custom.losses.gradient_aware import GradientAwareLoss, gradient_aware_cross_entropy
from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["GradientAwareCrossPseudoSupervision"]


class GradientAwareCrossPseudoSupervision(MethodTrainer):
    """L = L_sup,1 + L_sup,2 + lambda (GACE_100(f1, argmax f2) + GACE_100(f2, argmax f1)).

    L_sup = w (GACE_10 + GADice) of the labelled rows, see `custom.losses.GradientAwareLoss`. The index is the
    percentage of pixels that is kept: the hardest ones of the labels, all of the pseudo-labels. The cross terms go over
    all rows, labelled ones too, as in the release; without unlabelled rows they are left out. No gradient goes through
    a pseudo-label. The first network predicts.

    Args:
        hardest: percentage of labelled pixels that GACE keeps.
        class_exponent: gamma of GACE.
        supervised_weight: w. 1/2 follows SSL4MIS, in whose CPS the authors advise to replace the two losses for 2-D
            data; 1 is the release's, for volumes.
        kwargs: see `MethodTrainer`; `network` is a `NetworkPair`, and `loss_function` is L_sup if None.

    Raises:
        InputError: `hardest` or `class_exponent` is out of range.
    """

    def __init__(
        self, *, hardest: float = 10.0, class_exponent: float = 0.5, supervised_weight: float = 0.5, **kwargs: Any
    ) -> None:
        self.class_exponent = class_exponent
        self._gradient_aware = GradientAwareLoss(hardest, class_exponent, supervised_weight, supervised_weight)
        super().__init__(**kwargs)

    def default_loss(self) -> nn.Module:
        """L_sup."""
        return self._gradient_aware

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        first = self.forward(self.network.first, batch.images)
        second = self.forward(self.network.second, batch.images)
        terms = {
            "supervised_first": self.loss_function(first[: batch.labelled], batch.labels),
            "supervised_second": self.loss_function(second[: batch.labelled], batch.labels),
        }
        loss = terms["supervised_first"] + terms["supervised_second"]
        if batch.unlabelled:
            terms["cross_first"] = self._cross(first, second)
            terms["cross_second"] = self._cross(second, first)
            loss = loss + weight * (terms["cross_first"] + terms["cross_second"])
        return loss, terms

    def _cross(self, logits: Tensor, others: Tensor) -> Tensor:
        """GACE_100 of all pixels, with the other network's most probable classes for labels."""
        return gradient_aware_cross_entropy(
            logits, others.argmax(dim=1, keepdim=True), class_exponent=self.class_exponent
        )
