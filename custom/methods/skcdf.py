"""SKCDF: a decoder for labelled and one for unlabelled images, with balanced heads (Zhang et al., CVPR 2025)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["SKCDF", "balancing_mask", "keeping_rates"]


class SKCDF(MethodTrainer):
    """L = L_sup(l_m^l, y) + L_sup(M l_b^l, M y) + lambda (L_sup(u_m, argmax l_m^u) + L_sup(M' u_b, M' argmax l_b^u)).

    l and u are the decoders of labelled and of unlabelled images, m and b their main and balanced heads. l sees all
    rows, whose bottlenecks ask those of the other kind; u sees the unlabelled rows alone, which ask themselves, and its
    main head predicts. So l learns from labels alone, and pseudo-labels are hard and without gradient.

    M keeps a pixel with the probability r_c = N_min / N_c of its class: a pixel that it drops has logits of 0 and the
    background as label, which adds a constant to the loss and no gradient. M' has 1 - t/T (1 - r_c). N_c counts the
    pixels of class c in the labelled rows seen so far (the release: in the first four labelled images). Before each
    update the decoders and heads move to each other, see `SKCDFNetworks.move`.

    Without unlabelled images l sees the labelled rows, which ask themselves, and the terms with lambda are left out.

    Source: the release (`train_skcdf.py`), 3-D; the paper was not seen. Its L_sup is CE + Dice over the foreground, its
    lambda goes up to 10. Inferred: 2-D, and batches with other numbers of labelled and unlabelled rows.

    Args:
        decay: of the moving averages.
        kwargs: see `MethodTrainer`; `network` is a `SKCDFNetworks`.

    Raises:
        InputError: a decay out of range.
    """

    def __init__(self, *, decay: float = 0.99, **kwargs: Any) -> None:
        if not 0 <= decay <= 1:
            raise InputError(f"decay {decay}: give a number from 0 to 1")
        super().__init__(**kwargs)
        self.decay = decay

    def step(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.step`."""
        self.network.move(self.decay)
        return super().step(batch, weight)

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        labelled = batch.labelled
        rates = keeping_rates(self._count(batch.labels))
        main, balanced = self._logits(batch.images, 1, labelled if batch.unlabelled else None)
        terms = {
            "supervised": self.loss_function(main[:labelled], batch.labels),
            "supervised_balanced": self._balanced_loss(balanced[:labelled], batch.labels, rates),
        }
        loss = terms["supervised"] + terms["supervised_balanced"]
        if not batch.unlabelled:
            return loss, terms
        pseudo, balanced_pseudo = (
            logits[labelled:].detach().argmax(dim=1, keepdim=True).float() for logits in (main, balanced)
        )
        main, balanced = self._logits(batch.images[labelled:], 0, None)
        terms["pseudo"] = self.loss_function(main, pseudo)
        terms["pseudo_balanced"] = self._balanced_loss(balanced, balanced_pseudo, 1 - self.progress * (1 - rates))
        return loss + weight * (terms["pseudo"] + terms["pseudo_balanced"]), terms

    def _logits(self, images: Tensor, decoder: int, labelled: int | None) -> tuple[Tensor, Tensor]:
        return self.forward(self.network, images, decoder, labelled, method="logits_of_both_heads")

    def _balanced_loss(self, logits: Tensor, labels: Tensor, rates: Tensor) -> Tensor:
        mask = balancing_mask(labels, rates)
        return self.loss_function(logits * mask, torch.where(labels == IGNORED_LABEL, labels, labels * mask))

    @torch.no_grad()
    def _count(self, labels: Tensor) -> Tensor:
        """N with the pixels of these labels in it, [K]."""
        counts = self.network.class_counts
        counts += torch.stack([(labels == index).sum() for index in range(len(counts))])
        return counts


def keeping_rates(counts: Tensor) -> Tensor:
    """r_c = N_min / N_c, [K], float, with the smallest count of a class that was seen; 1 for one that was not."""
    seen = counts > 0
    smallest = torch.where(seen, counts, torch.inf).min()
    return torch.where(seen, smallest / counts.clamp(min=1), 1).float()


def balancing_mask(labels: Tensor, rates: Tensor) -> Tensor:
    """1 with the probability of the pixel's class, else 0, anew each time.

    Args:
        labels: class indices [B, 1, H, W], float; ignored pixels have the rate of the last class.
        rates: [K], from 0 to 1.

    Returns:
        [B, 1, H, W].
    """
    return rates[labels.long().clamp(max=len(rates) - 1)].bernoulli()
