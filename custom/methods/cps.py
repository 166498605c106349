"""CPS: two networks give each other hard pseudo-labels (Chen et al., CVPR 2021)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["CrossPseudoSupervision"]


class CrossPseudoSupervision(MethodTrainer):
    """L = L_sup,1 + L_sup,2 + lambda (CE(f1(u), argmax f2(u)) + CE(f2(u), argmax f1(u))).

    Both networks see the same images and differ in their initial weights alone; no gradient goes through a
    pseudo-label. The first network predicts.

    Args:
        kwargs: see `MethodTrainer`; `network` is a `NetworkPair`.
    """

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        labelled = batch.labelled
        first = self.forward(self.network.first, batch.images)
        second = self.forward(self.network.second, batch.images)
        terms = {
            "supervised_first": self.loss_function(first[:labelled], batch.labels),
            "supervised_second": self.loss_function(second[:labelled], batch.labels),
        }
        loss = terms["supervised_first"] + terms["supervised_second"]
        if batch.unlabelled:
            first, second = first[labelled:], second[labelled:]
            terms["cross_first"] = cross_entropy(first, second.argmax(dim=1))
            terms["cross_second"] = cross_entropy(second, first.argmax(dim=1))
            loss = loss + weight * (terms["cross_first"] + terms["cross_second"])
        return loss, terms
