"""GenericSSL: a denoiser of labels and a decoder for labelled images teach a third one (Wang and Li, NeurIPS 2023)."""

from __future__ import annotations

import math
from typing import Any

import torch
from monai.networks.layers import separable_filtering
from torch import Tensor, nn
from torch.nn.functional import gumbel_softmax

from custom.errors import InputError
from custom.losses.class_weighted import ClassWeightedLoss
from custom.losses.difficulty_weights import DifficultyWeights
from custom.methods.trainer import Batch, MethodTrainer
from custom.networks.running_averages import running_averages_on_hold

__all__ = ["GenericSSL", "smooth"]


def smooth(maps: Tensor) -> Tensor:
    """Maps [B, K, H, W] after a Gaussian of deviation 1 on 3 x 3 pixels, repeating the pixels at the border."""
    weights = [math.exp(-(distance**2) / 2) for distance in (-1, 0, 1)]
    kernel = torch.tensor(weights, device=maps.device) / sum(weights)
    return separable_filtering(maps, [kernel, kernel], mode="replicate")


class GenericSSL(MethodTrainer):
    """L = L_deno + L_diff + mu L_u, of the decoders xi, psi and theta of one encoder, see `GenericSSLNetworks`.

    Before each step theta moves by `average_share` towards the mean of xi and psi. Then, with C_w = w_s (CE +
    foreground Dice) of class weights w (see `ClassWeightedLoss`), labels y and noisy labels x_t,

        L_deno = C_1(xi(l, x_t), y)
        L_diff = C_w(psi(l), y), where w is the difficulty of the classes for xi, see `DifficultyWeights`
        L_u    = C_1(theta(u), argmax(smooth(gumbel_softmax(s)) + softmax(psi(u))))

    s is what xi makes of noise for the unlabelled images. mu is lambda, with 10 at the end of its ramp. No gradient
    goes through a pseudo-label. Without unlabelled rows L_u is left out, and theta is an average. Theta predicts.

    Noisy labels do not move the running averages of batch normalisation, by which theta predicts (ours).

    Args:
        gumbel: whether s gets Gumbel noise, as in the release; else its softmax is taken.
        pseudo_from: "both", or "psi" for pseudo-labels without the denoiser, which saves its passes. A user of the
            release finds that the denoiser gives noise there, and that psi alone makes the pseudo-labels.
        average_share: 0.01.
        supervised_weight: w_s; 1/2 makes the losses as large as those of the other methods, 1 is the release's.
        kwargs: see `MethodTrainer`; `network` is a `GenericSSLNetworks`. A `loss_function` that is given takes the
            place of C_w for labels, without class weights.

    Raises:
        InputError: unknown `pseudo_from`, or `average_share` out of range.
    """

    def __init__(
        self,
        *,
        gumbel: bool = True,
        pseudo_from: str = "both",
        average_share: float = 0.01,
        supervised_weight: float = 0.5,
        **kwargs: Any,
    ) -> None:
        if pseudo_from not in ("both", "psi"):
            raise InputError(f"pseudo_from {pseudo_from!r}: choose 'both' or 'psi'")
        if not 0 <= average_share <= 1:
            raise InputError(f"average_share {average_share}: give a number from 0 to 1")
        self._class_weighted = ClassWeightedLoss(supervised_weight, supervised_weight)
        super().__init__(**kwargs)
        self.gumbel = gumbel
        self.pseudo_from = pseudo_from
        self.average_share = average_share
        self.difficulty = DifficultyWeights(self.network.num_classes, normalised=False).to(self.state.device)

    def default_loss(self) -> nn.Module:
        """C_w."""
        return self._class_weighted

    def stateful_objects(self) -> dict[str, Any]:
        """See `MethodTrainer.stateful_objects`; with the difficulty of the classes."""
        return super().stateful_objects() | {"difficulty": self.difficulty}

    def step(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.step`."""
        self.network.average_decoders(self.average_share)
        return super().step(batch, weight)

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        network, labelled, unlabelled = self.network, batch.images[: batch.labelled], batch.images[batch.labelled :]
        with running_averages_on_hold(network):
            denoised = self.forward(network, labelled, *network.add_noise(batch.labels), method="denoised_logits")
        difficulty = self.difficulty.update(denoised.detach(), batch.labels)
        guided = self.forward(network, labelled, method="labelled_logits")
        terms = {
            "supervised_denoised": self._supervised(denoised, batch.labels),
            "supervised_weighted": self._supervised(guided, batch.labels, difficulty),
        }
        loss = terms["supervised_denoised"] + terms["supervised_weighted"]
        if batch.unlabelled:
            pseudo_labels = self.pseudo_labels(unlabelled)
            terms["consistency"] = self._class_weighted(self.forward(network.deployed, unlabelled), pseudo_labels)
            loss = loss + weight * terms["consistency"]
        return loss, terms

    @torch.no_grad()
    def pseudo_labels(self, images: Tensor) -> Tensor:
        """Class indices [B, 1, H, W] for images [B, C, H, W]."""
        network = self.network
        with running_averages_on_hold(network):
            votes = self.forward(network, images, method="labelled_logits").softmax(dim=1)
            if self.pseudo_from == "both":
                sampled = self.forward(network, images, method="sample")
                votes = votes + smooth(gumbel_softmax(sampled, dim=1) if self.gumbel else sampled.softmax(dim=1))
        return votes.argmax(dim=1, keepdim=True)

    def _supervised(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        if self.loss_function is self._class_weighted:
            return self.loss_function(logits, labels, weights)
        return self.loss_function(logits, labels)
