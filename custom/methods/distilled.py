"""Distillation: a small network learns what trained ones say of all images (Hinton et al., 2015)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from custom.errors import InputError
from custom.labels import IGNORED_LABEL, decided
from custom.losses import soft_target_loss
from custom.methods.trainer import Batch, MethodTrainer
from custom.transforms.copy_paste import mix
from custom.transforms.cutmix import cutmix_masks

__all__ = ["Distilled", "with_background"]


def with_background(foreground: Tensor) -> Tensor:
    """Probabilities of the foreground classes [B, K - 1, H, W] -> of all classes [B, K, H, W], which sum to one.

    The background has what is left. Rounded foregrounds may sum to more than one, and are scaled down then.
    """
    rest = (1 - foreground.sum(dim=1, keepdim=True)).clamp(min=0)
    probabilities = torch.cat([rest, foreground], dim=1)
    return probabilities / probabilities.sum(dim=1, keepdim=True)


class Targets(NamedTuple):
    """What each pixel of a batch should be: a class, the teacher's probabilities, or nothing known.

    Attributes:
        labels: class indices [B, 1, H, W], float; `IGNORED_LABEL` where no mask says it.
        taught: the teacher's probabilities [B, K, H, W]; zeros where there are none.
    """

    labels: Tensor
    taught: Tensor

    @classmethod
    def of(cls, batch: Batch) -> Targets:
        """The masks of the labelled rows and the teacher's predictions for the others."""
        unknown = batch.labels.new_full((batch.unlabelled, *batch.labels.shape[1:]), IGNORED_LABEL)
        labels = torch.cat([batch.labels, unknown])
        if not batch.unlabelled:
            return cls(labels, labels.new_zeros(len(labels), 1, *labels.shape[2:]))
        if "soft_label" not in batch.extra:
            raise InputError(
                "Distilled needs a 'soft_label' of each unlabelled image: make them in train#unlabelled_dataset#data "
                "and give train#dataloader unlabelled_keys, as the method's overlay does"
            )
        taught = with_background(batch.extra["soft_label"])
        return cls(labels, pad(taught, (0, 0) * 3 + (batch.labelled, 0)))


def cut_and_mix(images: Tensor, targets: Targets, probability: float) -> tuple[Tensor, Targets]:
    """With some probability, give an image and its targets the same box of another one of the batch (CutMix).

    Row i takes it from row B - 1 - i, so labelled images get boxes of unlabelled ones; see `cutmix_masks`.
    """
    masks = cutmix_masks(len(images), *images.shape[2:], probability, images.device)
    images, *mixed = (mix(values, values.flip(0), masks) for values in (images, *targets))
    return images, Targets(*mixed)


class Distilled(MethodTrainer):
    """L = L_sup + w L_T: true masks where there are some, and the teacher's probabilities t everywhere else.

    L_sup is the supervised loss over the pixels of labelled images, L_T = (CE + Dice) / 2 of the prediction and t over
    those of unlabelled ones, see `soft_target_loss`. The teacher's predictions are made once, before the training
    (`custom.inferers.add_soft_labels`), so that a step costs as much as one of supervised training. With some
    probability an image gets a box of another one (CutMix, Yun et al., ICCV 2019), and its targets likewise: an image
    may then have pixels of both kinds.

    Distillation is that of Hinton et al. ("Distilling the knowledge in a neural network", 2015), at temperature 1.

    Args:
        distillation_weight: w.
        cutmix_probability: of a box, for each image.
        kwargs: see `MethodTrainer`; `network` is a `UNet`. Batches have a "soft_label" [B_u, K - 1, H, W] of the
            unlabelled images, the teacher's probabilities of the foreground classes.

    Raises:
        InputError: a probability outside [0, 1], or a batch without soft labels.
    """

    def __init__(self, *, distillation_weight: float = 1.0, cutmix_probability: float = 0.5, **kwargs: Any) -> None:
        if not 0 <= cutmix_probability <= 1:
            raise InputError(f"cutmix_probability {cutmix_probability}: give a probability from 0 to 1")
        self.distillation_weight = distillation_weight
        self.cutmix_probability = cutmix_probability
        super().__init__(**kwargs)

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        images, targets = cut_and_mix(batch.images, Targets.of(batch), self.cutmix_probability)
        logits = self.forward(self.network, images)
        labelled = decided(targets.labels).any(dim=(1, 2, 3))
        terms = {"supervised": self.loss_function(logits[labelled], targets.labels[labelled])}
        if not batch.unlabelled:
            return terms["supervised"], terms
        taught = targets.taught.sum(dim=1, keepdim=True) > 0
        terms["distillation"] = soft_target_loss(logits, targets.taught, taught)
        return terms["supervised"] + self.distillation_weight * terms["distillation"], terms
