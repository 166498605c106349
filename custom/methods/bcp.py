"""BCP: bidirectional copy-paste between labelled and unlabelled images (Bai et al., CVPR 2023)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.labels.ignored import clear_ignored
from custom.losses.pseudo_labels import largest_components
from custom.methods.trainer import Batch, MethodTrainer
from custom.transforms.copy_paste import copy_paste_mask, mix

__all__ = ["BidirectionalCopyPaste", "halves"]


class BidirectionalCopyPaste(MethodTrainer):
    """Pretraining on mixtures of labelled images, then self-training on mixtures of labelled with unlabelled ones.

    m is a mask of ones with a rectangle of zeros, one for each batch; (a, b) are the `halves` of the labelled rows,
    (u, v) those of the unlabelled ones; l_m(f, y) is `loss_function` over the pixels of m alone. As in the release
    (`code/ACDC_BCP_train.py`), whose Dice + CE, halved at the end, is our (CE + Dice) / 2:

    1. Before `pretrain_share` of the run: L = l_m(f(x), y_a) + l_1-m(f(x), y_b), x = m a + (1 - m) b.
    2. From there on, with x_in = m u + (1 - m) a and x_out = m b + (1 - m) v, and z the teacher's pseudo-labels:
       L = l_1-m(f(x_in), y_a) + l_m(f(x_out), y_b) + alpha (l_m(f(x_in), z_u) + l_1-m(f(x_out), z_v)).

    z is the teacher's most probable class, of each class its largest connected component where the data have one piece
    of each class. The teacher is a copy of the student when step 2 begins and its moving average from then on; it stays
    in training mode, so the student's running statistics, which it holds, are not used.
    Without unlabelled images L is the usual supervised loss of the labelled rows. lambda is not used.

    Args:
        pretrain_share: share of the run, in [0, 1], after which unlabelled images are used.
        alpha: weight of the pseudo-labels.
        mixing: False, for an ablation, leaves images as they are: L = 2 (l(f(x), y) + alpha l(f(u), z)), where 2 stands
            for the two terms of which each part of L above is the sum.
        kwargs: see `MethodTrainer`; `network` is a `MeanTeacher` without warm-up.

    Raises:
        InputError: `pretrain_share` is not in [0, 1], or `alpha` is not positive.
    """

    def __init__(self, *, pretrain_share: float = 0.25, alpha: float = 0.5, mixing: bool = True, **kwargs: Any) -> None:
        if not 0 <= pretrain_share <= 1:
            raise InputError(f"pretrain_share {pretrain_share}: give a share of the run, from 0 to 1")
        if not alpha > 0:
            raise InputError(f"alpha {alpha}: the weight of the pseudo-labels must be above 0")
        super().__init__(**kwargs)
        self.pretrain_share = pretrain_share
        self.alpha = alpha
        self.mixing = mixing

    @property
    def is_pretraining(self) -> bool:
        """Whether unlabelled images are not used yet."""
        return self.progress < self.pretrain_share

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        if not self.is_pretraining and not self.network.has_moved:
            self.network.update_teacher()  # the first update is a copy
        images, labels = batch.images[: batch.labelled], batch.labels
        if not batch.unlabelled:
            supervised = self.loss_function(self._student(images), labels)
            return supervised, {"supervised": supervised}
        if self.is_pretraining:
            supervised = self._mixed_labelled(images, labels) if self.mixing else self._plain(images, labels)
            return supervised, {"supervised": supervised}
        unlabelled = batch.images[batch.labelled :]
        pseudo = self.pseudo_labels(unlabelled)
        if self.mixing:
            supervised, consistency = self._mixed(images, labels, unlabelled, pseudo)
        else:
            logits = self._student(torch.cat([images, unlabelled]))
            supervised = 2 * self.loss_function(logits[: batch.labelled], labels)
            consistency = 2 * self.loss_function(logits[batch.labelled :], pseudo)
        return supervised + self.alpha * consistency, {"supervised": supervised, "consistency": consistency}

    @torch.no_grad()
    def pseudo_labels(self, images: Tensor) -> Tensor:
        """The teacher's classes for images [B, C, H, W]: [B, 1, H, W], float, cleaned where classes are one piece."""
        labels = self.forward(self.network.teacher, images).argmax(dim=1, keepdim=True).float()
        return largest_components(labels) if self.one_connected_component else labels

    def after_step(self) -> None:
        """Move the teacher, once it is used."""
        if not self.is_pretraining:
            self.network.update_teacher()

    def _student(self, images: Tensor) -> Tensor:
        return self.forward(self.network.student, images)

    def _plain(self, images: Tensor, labels: Tensor) -> Tensor:
        return 2 * self.loss_function(self._student(images), labels)

    def _mixed_labelled(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of step 1."""
        mask = copy_paste_mask(*images.shape[-2:], device=images.device)
        (first, second), (y_first, y_second) = halves(images), halves(labels)
        logits = self._student(mix(first, second, mask))
        return self._region_loss(logits, y_first, mask) + self._region_loss(logits, y_second, 1 - mask)

    def _mixed(self, images: Tensor, labels: Tensor, unlabelled: Tensor, pseudo: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of step 2: its part with labels, and its part with pseudo-labels."""
        mask = copy_paste_mask(*images.shape[-2:], device=images.device)
        pairs = max(len(halves(images)[0]), len(halves(unlabelled)[0]))
        (a, b), (y_a, y_b), (u, v), (z_u, z_v) = (
            [_repeat(half, pairs) for half in halves(rows)] for rows in (images, labels, unlabelled, pseudo)
        )
        inward, outward = self._student(torch.cat([mix(u, a, mask), mix(b, v, mask)])).chunk(2)
        supervised = self._region_loss(inward, y_a, 1 - mask) + self._region_loss(outward, y_b, mask)
        consistency = self._region_loss(inward, z_u, mask) + self._region_loss(outward, z_v, 1 - mask)
        return supervised, consistency

    def _region_loss(self, logits: Tensor, labels: Tensor, region: Tensor) -> Tensor:
        """`loss_function` over the pixels where `region`, [1, 1, H, W], is 1: the others are ignored ones."""
        inside = torch.where(region.bool(), labels, IGNORED_LABEL)
        return self.loss_function(clear_ignored(logits, inside), inside)


def halves(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the second half of the rows; of an odd number all rows, and all with the next one in their place.

    So each row is once on either side, and a single one is paired with itself.
    """
    if len(rows) % 2:
        return rows, rows.roll(-1, dims=0)
    first, second = rows.chunk(2)
    return first, second


def _repeat(rows: Tensor, count: int) -> Tensor:
    """`count` rows, from the beginning again where there are fewer."""
    return rows[torch.arange(count, device=rows.device) % len(rows)]
