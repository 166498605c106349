"""DiffRect: pseudo-labels rectified by a diffusion model in a latent space (Liu et al., MICCAI 2024)."""

from __future__ import annotations

from typing import Any

import torch
from monai.losses import DiceLoss
from monai.networks.utils import one_hot
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Optimizer

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.labels.ignored import decided
from custom.losses import complementary_loss, confident_pseudo_labels
from custom.methods.trainer import Batch, MethodTrainer, dice_and_cross_entropy
from custom.networks.diffrect import Reconstruction

__all__ = ["DiffRect"]


class DiffRect(MethodTrainer):
    """Three updates per iteration, of the segmenter, of the rectifier, and once more of the segmenter.

    With CD = cross-entropy + Dice loss, the complementary loss N = a * comp (see `complementary_loss`, over all rows),
    weak and strong views of the images, and pseudo-labels of both (see `confident_pseudo_labels`):

    1. Segmenter: CD(weak labelled, y) + w (CD(strong unlabelled, weak pseudo-label) + N).
    2. Rectifier: L_W2G + w L_S2W.
       From weak pseudo-labels to the ground truth (unlabelled rows: to themselves), L_W2G = CD(rectified labelled, y)
       + L_latent. From strong pseudo-labels to weak ones, L_S2W = CD(rectified unlabelled, pseudo-label of what the
       first of the two made of the weak one) + N + L_latent. L_latent is the mean squared error of the latent over all
       rows.
    3. Segmenter, after a share `refine_start` of the run: CD(weak unlabelled, pseudo-label of the rectified weak
       pseudo-label), which the rectifier samples from noise.

    Without unlabelled images there remain the supervised parts of 1, and of 2 L_W2G. Ignored pixels of labelled images
    are in no CD and in no calibration. Where the rectifier needs some label there, in the latent of y, it has the weak
    pseudo-label, as everywhere in unlabelled images.

    w is the ramped consistency weight. By default the ramp and `refine_start` go by the share of the run that is over;
    the released code's 30,000 iterations raise the ramp every 150 and begin to rectify after 1000. This is the released
    code; the paper does not give the weights, and has no separate third update.

    Args:
        rectifier_optimizer: optimiser of the rectifier, None for SGD; `optimizer` is that of the segmenter.
        rectifier_learning_rate: constant learning rate of the rectifier's default optimiser.
        momentum: momentum of the rectifier's default optimiser.
        weight_decay: weight decay of the rectifier's default optimiser.
        refine_start: share of all iterations after which the third update begins.
        confidence_threshold: see `confident_pseudo_labels`.
        calibration: how the rectifier gets the distance of labels from better ones. "dice_loss" is 999 times their
            Dice loss (released code), "dice" 999 times their Dice (paper); one number for the batch.
        strong_target: target of L_S2W's segmentation: "rectified" (released code), or "weak", the weak pseudo-label
            itself.
        rectified_weight: weight of the third update's loss.
        kwargs: see `MethodTrainer`; `network` is a `DiffRectNetworks`, and `loss_function` is CD if None.

    Raises:
        InputError: unknown `calibration` or `strong_target`.
    """

    strong_views = 1

    def __init__(
        self,
        *,
        rectifier_optimizer: Optimizer | None = None,
        rectifier_learning_rate: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        refine_start: float = 1 / 30,
        confidence_threshold: float = 0.8,
        calibration: str = "dice_loss",
        strong_target: str = "rectified",
        rectified_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if calibration not in ("dice_loss", "dice"):
            raise InputError(f"calibration {calibration!r}: choose 'dice_loss' or 'dice'")
        if strong_target not in ("rectified", "weak"):
            raise InputError(f"strong_target {strong_target!r}: choose 'rectified' or 'weak'")
        super().__init__(**kwargs)
        if rectifier_optimizer is None:
            settings = {"lr": rectifier_learning_rate, "momentum": momentum, "weight_decay": weight_decay}
            rectifier_optimizer = SGD(self.network.rectifier.parameters(), **settings)
        self.optimizers["rectifier"] = rectifier_optimizer
        self.refine_start = refine_start
        self.confidence_threshold = confidence_threshold
        self.calibration = calibration
        self.strong_target = strong_target
        self.rectified_weight = rectified_weight
        self.label_dice_loss = DiceLoss(
            to_onehot_y=True,
            squared_pred=True,
            batch=True,
            smooth_nr=1e-5,
            smooth_dr=1e-5,
            ignore_index=IGNORED_LABEL,
        )

    def default_loss(self) -> nn.Module:
        """CD."""
        return dice_and_cross_entropy(1.0, 1.0)

    def step(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.step`; the loss is the sum of those of the three updates."""
        network = self.network
        weak = self.forward(network.segmenter, batch.images)
        strong = self.forward(network.segmenter, batch.strong_views[0]) if batch.unlabelled else None
        segmentation, terms = self.segmentation_loss(batch, weak, strong, weight)
        self.update(segmentation, self.optimizer)

        weak_labels = self._pseudo_labels(weak)
        strong_labels = self._pseudo_labels(strong) if batch.unlabelled else None
        rectifier, rectifier_terms = self.rectifier_loss(batch, weak_labels, strong_labels, weight)
        self.update(rectifier, self.optimizers["rectifier"])
        total = segmentation.detach() + rectifier.detach()
        terms |= rectifier_terms

        if batch.unlabelled and self.progress > self.refine_start:
            rectified = self.rectified_loss(batch, weak_labels)
            self.update(self.rectified_weight * rectified, self.optimizer)
            total = total + self.rectified_weight * rectified.detach()
            terms["rectified"] = rectified
        return total, terms

    def segmentation_loss(
        self, batch: Batch, weak: Tensor, strong: Tensor | None, weight: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the first update, from the segmenter's logits of both views; `strong` is None if all is labelled."""
        supervised = self.loss_function(weak[: batch.labelled], batch.labels)
        terms = {"supervised": supervised}
        if strong is None:
            return supervised, terms
        unlabelled = slice(batch.labelled, None)
        consistency = self.loss_function(strong[unlabelled], self._pseudo_labels(weak[unlabelled]))
        complementary = _complementary(strong, weak)
        terms |= {"consistency": consistency, "complementary": complementary}
        return supervised + weight * (consistency + complementary), terms

    def rectifier_loss(
        self, batch: Batch, weak_labels: Tensor, strong_labels: Tensor | None, weight: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of the second update, from the segmenter's pseudo-labels of both views."""
        labelled, unlabelled = slice(batch.labelled), slice(batch.labelled, None)
        truth = torch.where(decided(batch.labels), batch.labels, weak_labels[labelled])
        better = torch.cat([truth, weak_labels[unlabelled]])
        calibration = self._calibration(weak_labels[labelled], batch.labels)
        weak = self._reconstruct(batch.images, weak_labels, better, calibration)
        segmentation = self.loss_function(weak.logits[labelled], batch.labels)
        latent = mse_loss(weak.latent, weak.target)
        terms = {"rectifier": segmentation, "rectifier_latent": latent, "calibration": calibration}
        if strong_labels is None:
            return segmentation + latent, terms

        weak_target = weak_labels if self.strong_target == "weak" else self._pseudo_labels(weak.logits)
        strong_calibration = self._calibration(strong_labels[unlabelled], weak_target[unlabelled])
        strong = self._reconstruct(batch.strong_views[0], strong_labels, weak_labels, strong_calibration)
        strong_segmentation = self.loss_function(strong.logits[unlabelled], weak_target[unlabelled])
        complementary = _complementary(strong.logits, weak.logits)
        strong_latent = mse_loss(strong.latent, strong.target)
        terms |= {
            "strong_rectifier": strong_segmentation,
            "strong_rectifier_complementary": complementary,
            "strong_rectifier_latent": strong_latent,
            "strong_calibration": strong_calibration,
        }
        return segmentation + latent + weight * (strong_segmentation + complementary + strong_latent), terms

    def rectified_loss(self, batch: Batch, weak_labels: Tensor) -> Tensor:
        """Loss of the third update: the segmenter, after its first update, against rectified pseudo-labels."""
        calibration = self._calibration(weak_labels[: batch.labelled], batch.labels)
        rectifier = self.network.rectifier
        rectified = self.forward(rectifier, batch.images, weak_labels, calibration, method="rectify")
        weak = self.forward(self.network.segmenter, batch.images)
        return self.loss_function(weak[batch.labelled :], self._pseudo_labels(rectified[batch.labelled :]))

    def _pseudo_labels(self, logits: Tensor) -> Tensor:
        return confident_pseudo_labels(logits, self.confidence_threshold)

    def _calibration(self, labels: Tensor, better: Tensor) -> Tensor:
        """The distance between two labels as the rectifier gets it, a scalar in [0, 999]."""
        loss = self.label_dice_loss(one_hot(labels, self.network.num_classes), better)
        return 999 * (loss if self.calibration == "dice_loss" else 1 - loss)

    def _reconstruct(self, images: Tensor, labels: Tensor, better: Tensor, calibration: Tensor) -> Reconstruction:
        return self.forward(self.network.rectifier, images, labels, better, calibration, method="reconstruct")


def _complementary(strong: Tensor, weak: Tensor) -> Tensor:
    """The complementary loss as DiffRect adds it: once more times its factor."""
    loss, factor = complementary_loss(strong, weak)
    return factor * loss
