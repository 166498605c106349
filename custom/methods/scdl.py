"""SCDL: class distributions learnt beside another method, against class imbalance (Su et al., CVPR 2026)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from custom.errors import InputError
from custom.losses.class_distribution_losses import (
    anchor_loss,
    embedding_to_proxy_loss,
    labelled_token_weights,
    proxy_to_embedding_loss,
    semantic_anchors,
    unlabelled_token_weights,
)
from custom.methods.cps import CrossPseudoSupervision
from custom.methods.dhc import HeterogeneousCoTraining
from custom.methods.ga_cps import GradientAwareCrossPseudoSupervision
from custom.methods.mc_net import MutualConsistency
from custom.methods.trainer import Batch, MethodTrainer
from custom.networks import SCDLUNet
from custom.networks.class_distributions import ClassDistributionOutputs

__all__ = [
    "ClassDistributionLearning",
    "CrossPseudoSupervisionWithSCDL",
    "GradientAwareCrossPseudoSupervisionWithSCDL",
    "HeterogeneousCoTrainingWithSCDL",
    "MutualConsistencyWithSCDL",
    "SupervisedWithSCDL",
]


class ClassDistributionLearning(MethodTrainer):
    """L = L_base + w_p2e L_P2E + w_e2p L_E2P + w_sac L_SAC, for any method L_base that trains `SCDLUNet`s.

    A subclass names this class before the base method, whose `loss` stays as it is. The three losses are computed from
    the class distributions of every call of an `SCDLUNet` on the whole batch, and summed over the networks. Labelled
    tokens are weighted by the labels, unlabelled ones by their own assignments; tokens all of whose pixels are ignored
    are left out. Labels enter the losses only.

    No training code is released. The default weights are the defaults of the released module, the paper's are all 1.

    Args:
        proxy_to_embedding_weight: w_p2e.
        embedding_to_proxy_weight: w_e2p.
        anchor_weight: w_sac.
        proxy_to_embedding_form: "class" or "token", see `proxy_to_embedding_loss`.
        scdl_start: share of the run, in [0, 1], after which the three losses begin.
        kwargs: those of the base method.

    Raises:
        InputError: unknown form, or a start out of range.
    """

    def __init__(
        self,
        *,
        proxy_to_embedding_weight: float = 1.0,
        embedding_to_proxy_weight: float = 0.1,
        anchor_weight: float = 0.1,
        proxy_to_embedding_form: str = "class",
        scdl_start: float = 0.01,
        **kwargs: Any,
    ) -> None:
        if proxy_to_embedding_form not in ("class", "token"):
            raise InputError(f"proxy_to_embedding_form {proxy_to_embedding_form!r}: choose 'class' or 'token'")
        if not 0 <= scdl_start <= 1:
            raise InputError(f"scdl_start is {scdl_start}: give a share of the run, from 0 to 1")
        super().__init__(**kwargs)
        self.weights = {
            "proxy_to_embedding": proxy_to_embedding_weight,
            "embedding_to_proxy": embedding_to_proxy_weight,
            "anchor": anchor_weight,
        }
        self.proxy_to_embedding_form = proxy_to_embedding_form
        self.scdl_start = scdl_start
        self._images: Tensor | None = None
        self._calls: list[tuple[SCDLUNet, ClassDistributionOutputs]] = []

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`; without the three losses before `scdl_start`."""
        self._images, self._calls = batch.images, []
        loss, terms = super().loss(batch, weight)
        calls, self._images, self._calls = self._calls, None, []
        if not calls:
            raise InputError(f"{type(self).__name__} trains a custom.networks.SCDLUNet: set network_def as its overlay")
        if self.progress < self.scdl_start:
            return loss, terms
        losses = [self._distribution_losses(*call, batch) for call in calls]
        for name, term_weight in self.weights.items():
            terms[name] = sum(each[name] for each in losses)
            loss = loss + term_weight * terms[name]
        return loss, terms

    def forward(self, network: nn.Module, *inputs: Any, method: str = "logits") -> Any:
        """As `MethodTrainer.forward`; keeps the class distributions of calls on the batch's images."""
        on_batch = len(inputs) == 1 and inputs[0] is self._images
        if not (on_batch and isinstance(network, SCDLUNet) and method in ("logits", "all_logits")):
            return super().forward(network, *inputs, method=method)
        logits, distributions = super().forward(network, *inputs, method=f"{method}_with_distributions")
        self._calls.append((network, distributions))
        return logits

    def _distribution_losses(
        self, network: SCDLUNet, found: ClassDistributionOutputs, batch: Batch
    ) -> dict[str, Tensor]:
        labelled = labelled_token_weights(batch.labels, network.num_classes, found.grid)
        unlabelled = unlabelled_token_weights(found.assignments[batch.labelled :])
        weights, similarities = torch.cat([labelled, unlabelled]), found.similarities
        known = weights.any(dim=-1)
        if not known.any():
            return dict.fromkeys(self.weights, 0 * similarities.sum())
        if not known.all():  # else the sums keep their order
            weights, similarities = weights[known][None], similarities[known][None]
        anchors, present = semantic_anchors(found.tokens[: batch.labelled], labelled, network.distributions.embed)
        return {
            "proxy_to_embedding": proxy_to_embedding_loss(similarities, weights, self.proxy_to_embedding_form),
            "embedding_to_proxy": embedding_to_proxy_loss(similarities, weights),
            "anchor": anchor_loss(anchors, present, found.centres),
        }


class _SupervisedOnWholeBatch(MethodTrainer):
    """L = supervised loss of the labelled rows, of a network that has seen the unlabelled ones as well."""

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        logits = self.forward(self.network, batch.images)
        supervised = self.loss_function(logits[: batch.labelled], batch.labels)
        return supervised, {"supervised": supervised}


class SupervisedWithSCDL(ClassDistributionLearning, _SupervisedOnWholeBatch):
    """SCDL beside the supervised loss of the labelled rows; from unlabelled rows the class distributions alone learn.

    So it does use unlabelled images, unlike `Supervised`, and they are in the statistics of the batch normalisation.
    """


class CrossPseudoSupervisionWithSCDL(ClassDistributionLearning, CrossPseudoSupervision):
    """SCDL beside CPS; `network` is a `NetworkPair` of two `SCDLUNet`s, each with distributions of its own."""


class MutualConsistencyWithSCDL(ClassDistributionLearning, MutualConsistency):
    """SCDL beside MC-Net; `network` is an `SCDLUNet` of two decoders, which share the distributions."""


class GradientAwareCrossPseudoSupervisionWithSCDL(ClassDistributionLearning, GradientAwareCrossPseudoSupervision):
    """SCDL beside GA-CPS; `network` is a `NetworkPair` of two `SCDLUNet`s, each with distributions of its own."""


class HeterogeneousCoTrainingWithSCDL(ClassDistributionLearning, HeterogeneousCoTraining):
    """SCDL beside DHC; `network` is a `NetworkPair` of two `SCDLUNet`s. No such combination is released."""
