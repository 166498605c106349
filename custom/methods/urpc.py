"""URPC: consistency of predictions at several resolutions where they are certain (Luo et al., MICCAI 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["UncertaintyRectifiedPyramidConsistency", "rectified_consistency"]


class UncertaintyRectifiedPyramidConsistency(MethodTrainer):
    """L = L_sup + lambda L_cons over the four predictions of a `PyramidUNet`.

    L_sup is the mean supervised loss of the four predictions for labelled images, L_cons the `rectified_consistency` of
    the four for unlabelled ones. Inference takes the main one, as in SSL4MIS.

    Args:
        kwargs: see `MethodTrainer`; `network` is a `PyramidUNet`.
    """

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        predictions = self.forward(self.network, batch.images, method="all_logits")
        supervised = torch.stack([self.loss_function(logits[: batch.labelled], batch.labels) for logits in predictions])
        terms = {"supervised": supervised.mean()}
        if not batch.unlabelled:
            return terms["supervised"], terms
        terms["consistency"] = rectified_consistency([logits[batch.labelled :] for logits in predictions])
        return terms["supervised"] + weight * terms["consistency"], terms


def rectified_consistency(predictions: list[Tensor]) -> Tensor:
    """How much several predictions differ from their mean; where one differs much, its square counts less.

    With softmax outputs p_i, their mean m and the uncertainty D_i = sum over classes of m ln(m / p_i) in each pixel,
    L_i = mean((m - p_i)^2 e^-D_i) / (mean(e^-D_i) + 1e-8) + mean(D_i), and the result is the mean of all L_i
    (`train_uncertainty_rectified_pyramid_consistency_2D.py` of SSL4MIS; the mean of squares goes over classes too).
    Gradients flow through everything.

    Args:
        predictions: logits [B, K, H, W].
    """
    logarithms = torch.stack([logits.log_softmax(dim=1) for logits in predictions])
    # All in logarithms: they and their gradients stay finite where all give a class the probability 0.
    mean = logarithms.logsumexp(dim=0) - math.log(len(predictions))
    losses = []
    for logarithm in logarithms:
        uncertainty = kl_div(logarithm, mean, reduction="none", log_target=True).sum(dim=1, keepdim=True)
        certainty = (-uncertainty).exp()
        distance = (mean.exp() - logarithm.exp()) ** 2
        losses.append((distance * certainty).mean() / (certainty.mean() + 1e-8) + uncertainty.mean())
    return torch.stack(losses).mean()
