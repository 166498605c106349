"""MCF: two different networks, of which the better one on the labels teaches the other (Wang et al., CVPR 2023)."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks import one_hot
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from custom.errors import InputError
from custom.labels import clear_ignored, decided
from custom.losses import DecidedDiceCELoss
from custom.methods.trainer import Batch, MethodTrainer, dice_and_cross_entropy

__all__ = ["MutualCorrection", "differing", "rectification"]


class MutualCorrection(MethodTrainer):
    """L = sum_i (L_sup,i + s w_rect R_i) + lambda mean((p_h - q)^2), i = 1, 2.

    Both networks see the same rows. R_i is the `rectification` of labelled pixels where their most probable classes
    differ. g is the network with the smaller Dice loss on the labelled rows of this batch, the second one on a tie, and
    h the other one. Its target is the sharpened softmax q = p_g^(1/T) / sum_c p_g^(1/T) of the unlabelled rows, without
    gradient; the mean goes over rows, classes and pixels.

    The Dice loss that chooses g goes over all classes, where the release (`train_MCF.py`) has two and takes the
    foreground. That and the form of R_i for more than two classes are inferred. Without unlabelled images L has no last
    term. The first network predicts.

    Args:
        rectification_weight: w_rect.
        temperature: T of the sharpening.
        foreground: choose g by the foreground classes alone, and by the cross-entropy where the labels have none.
        loss_scale: s. L_sup is s (CE + Dice); the release has 1.
        kwargs: see `MethodTrainer`; `network` is a `NetworkPair`.

    Raises:
        InputError: a negative weight, or a temperature or scale that is not positive.
    """

    def __init__(
        self,
        *,
        rectification_weight: float = 0.5,
        temperature: float = 0.1,
        foreground: bool = False,
        loss_scale: float = 0.5,
        **kwargs: Any,
    ) -> None:
        if not rectification_weight >= 0:
            raise InputError(f"rectification_weight {rectification_weight}: give 0 or more")
        for name, value in (("temperature", temperature), ("loss_scale", loss_scale)):
            if not value > 0:
                raise InputError(f"{name} {value}: give a number above 0")
        self.loss_scale = loss_scale
        super().__init__(**kwargs)
        self.rectification_weight = rectification_weight
        self.temperature = temperature
        self.foreground = foreground
        self.dice = DecidedDiceCELoss(
            softmax=True,
            include_background=not foreground,
            squared_pred=True,
            batch=True,
            smooth_nr=1e-5,
            smooth_dr=1e-5,
            lambda_ce=0.0,
        )
        self.cross_entropy = dice_and_cross_entropy(0.0, 1.0)

    def default_loss(self) -> nn.Module:
        """s (CE + Dice)."""
        return dice_and_cross_entropy(self.loss_scale, self.loss_scale)

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        names = ("first", "second")
        labelled, unlabelled = [], []
        for name in names:
            logits = self.forward(getattr(self.network, name), batch.images)
            labelled.append(logits[: batch.labelled])
            unlabelled.append(logits[batch.labelled :])
        differ = differing(*labelled, batch.labels)
        supervised = {
            f"supervised_{name}": self.loss_function(logits, batch.labels)
            for name, logits in zip(names, labelled, strict=True)
        }
        rectified = {
            f"rectified_{name}": rectification(logits, batch.labels, differ)
            for name, logits in zip(names, labelled, strict=True)
        }
        terms = {**supervised, **rectified, "difference_share": differ.float().mean()}
        loss = sum(supervised.values()) + self.loss_scale * self.rectification_weight * sum(rectified.values())
        if not batch.unlabelled:
            return loss, terms
        first, second = unlabelled
        second_is_better = self.error(labelled[1], batch.labels) <= self.error(labelled[0], batch.labels)
        # Both distances, of which one counts: so the device need not say which before the loss is complete.
        terms["consistency"] = torch.where(
            second_is_better, self.distance_to(first, second), self.distance_to(second, first)
        )
        terms["second_is_better"] = second_is_better.float()
        return loss + weight * terms["consistency"], terms

    @torch.no_grad()
    def error(self, logits: Tensor, labels: Tensor) -> Tensor:
        """By what a network is judged, a scalar: the smaller, the better."""
        dice = self.dice(logits, labels)
        if not self.foreground:
            return dice
        has_foreground = (clear_ignored(labels, labels) > 0).any()
        return torch.where(has_foreground, dice, self.cross_entropy(logits, labels))

    def distance_to(self, logits: Tensor, target: Tensor) -> Tensor:
        """mean((p - q)^2) of the softmax of logits [B, K, H, W] and the sharpened one of a target's, which is fixed."""
        return mse_loss(logits.softmax(dim=1), (target.detach() / self.temperature).softmax(dim=1))


def differing(first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
    """Where the most probable classes of two logits [B, K, H, W] differ at decided pixels: bool [B, 1, H, W]."""
    return (first.argmax(dim=1, keepdim=True) != second.argmax(dim=1, keepdim=True)) & decided(labels)


def rectification(logits: Tensor, labels: Tensor, where: Tensor) -> Tensor:
    """R = sum(m sum_c (p_c - y_c)^2 / 2) / (sum m + 1e-16): the squared error of the softmax at some pixels.

    With two classes it is that of the foreground's probability, as in the release.

    Args:
        logits: [B, K, H, W].
        labels: class indices or `IGNORED_LABEL`, [B, 1, H, W].
        where: m, bool [B, 1, H, W], of decided pixels.
    """
    errors = (logits.softmax(dim=1) - one_hot(clear_ignored(labels, labels), logits.shape[1])) ** 2
    return (where * errors).sum() / 2 / (where.sum() + 1e-16)
