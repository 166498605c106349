"""SemiGDA+, stage 2: SemiGDA with a teacher and strong views, an addition of this project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.losses import SoftLabelDiceLoss
from custom.methods.semigda_segmentation import SemiGDASegmentation
from custom.methods.trainer import Batch
from custom.networks import BranchOutputs
from custom.transforms.copy_paste import mix
from custom.transforms.cutmix import cutmix_masks

__all__ = ["SemiGDAPlus"]


class SemiGDAPlus(SemiGDASegmentation):
    """SemiGDA's losses, with pseudo-labels of a teacher's weak view for a strong view of the unlabelled images.

    The weak view is the image as SemiGDA sees it, the strong view ("strong_image") the same in other colours and
    blurred, into which CutMix pastes a rectangle of another unlabelled image of the batch, the i-th of the last for the
    i-th. The pseudo-labels are cut and pasted likewise. With PL their form, see `pseudo`, and T the teacher's
    prediction of the weak view, see `SemiGDA.soft_labels`, L_u = sum_b Dice(p_b^strong, PL(T)). Copy-paste mixing is
    SemiGDA's, on weak views, with PL(T) for both branches.

    Each addition is a switch. With `teacher`, `strong_view` and `cutmix` off and `pseudo: hard` or `off`, an iteration
    is that of `SemiGDASegmentation`.

    Args:
        ema_decay: decay of the moving average of the trained weights, see `WeightAverage`: the teacher, and what is
            validated and saved.
        teacher: false takes the student's own prediction of the weak view, in evaluation mode: each branch learns from
            the other one, as in SemiGDA.
        strong_view: false shows the student the weak view.
        cutmix: false pastes nothing.
        cutmix_probability: probability of a rectangle in an image.
        pseudo: "soft" for the soft labels themselves, with a Dice loss of squared denominators; "masked" for the
            nearest class, of which pixels with a smaller membership than `threshold` are left out; "hard" for
            SemiGDA's, see `PseudoLabels`; "off" for no L_u: pseudo-labels, hard ones, then serve the mixing alone.
        threshold: membership of the nearest class which a pixel needs with "masked".
        kwargs: see `SemiGDASegmentation`; `mixing_start: 1` switches copy-paste mixing off.

    Raises:
        InputError: an unknown `pseudo`, a threshold outside [0, 1], or a teacher without `ema_decay`.
    """

    pseudo_forms = ("soft", "masked", "hard", "off")

    def __init__(
        self,
        *,
        ema_decay: float | None = 0.99,
        teacher: bool = True,
        strong_view: bool = True,
        cutmix: bool = True,
        cutmix_probability: float = 0.5,
        pseudo: str = "soft",
        threshold: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(ema_decay=ema_decay, pseudo=pseudo, **kwargs)
        if teacher and ema_decay is None:
            raise InputError("teacher: it is the moving average of the weights; give ema_decay, or switch teacher off")
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold {threshold}: give a membership from 0 to 1")
        self.teacher = teacher
        self.strong_views = int(strong_view)
        self.cutmix = cutmix
        self.cutmix_probability = cutmix_probability
        self.threshold = threshold
        self.soft_loss = SoftLabelDiceLoss(self.network.num_classes, squared=True)

    @property
    def _is_plain(self) -> bool:
        """Whether an iteration is SemiGDA's."""
        return not (self.teacher or self.strong_views or self.cutmix) and self.pseudo in ("hard", "off")

    def pseudo_loss(self, soft_labels: Tensor, target: Tensor) -> Tensor:
        """See `SemiGDASegmentation.pseudo_loss`."""
        loss = self.soft_loss if self.pseudo == "soft" else self.loss_function
        return loss(soft_labels, target)

    def losses(self, batch: Batch, weight: float, terms: dict[str, Tensor]) -> Iterator[Tensor]:
        """See `SemiGDASegmentation.losses`."""
        if self._is_plain or not batch.unlabelled:
            yield from super().losses(batch, weight, terms)
            return
        pseudo = self.pseudo_labels_of(batch.images[batch.labelled :])
        strong, labels = self.strong_batch(batch, pseudo)
        yield self.clean_loss(strong, weight, terms, labels)[0]
        if self._is_mixing:
            yield weight * self.mixed_loss(batch, pseudo, terms)

    @torch.no_grad()
    def pseudo_labels_of(self, images: Tensor) -> BranchOutputs:
        """Images [B, 3, H, W] -> labels [B, 1, H, W] that each branch's prediction gives the other one.

        The teacher gives both the same. Before its first update it is the network itself.
        """
        self.network.eval()
        with self.predicting_weights() if self.teacher else nullcontext(), self.autocast():
            soft = [self.network.soft_labels(images)] * 2 if self.teacher else self.network.predict_branches(images)
        self.network.train()
        return BranchOutputs(*map(self._form, soft))

    def _form(self, soft_labels: Tensor) -> Tensor:
        """The labels in the form that `pseudo` names."""
        if self.pseudo == "soft":
            return soft_labels
        if self.pseudo != "masked":
            return self.pseudo_labels(soft_labels)
        membership, label = self.pseudo_labels.codec.memberships(soft_labels).max(dim=1, keepdim=True)
        return torch.where(membership >= self.threshold, label.float(), IGNORED_LABEL)

    def strong_batch(self, batch: Batch, pseudo: BranchOutputs) -> tuple[Batch, BranchOutputs]:
        """The batch with what the student sees of the unlabelled images, and their pseudo-labels."""
        unlabelled = batch.unlabelled_strong_views[0] if self.strong_views else batch.images[batch.labelled :]
        if self.cutmix:
            masks = cutmix_masks(len(unlabelled), *unlabelled.shape[-2:], self.cutmix_probability, unlabelled.device)
            unlabelled, *labels = (mix(each, each.flip(0), masks) for each in (unlabelled, *pseudo))
            pseudo = BranchOutputs(*labels)
        images = torch.cat([batch.images[: batch.labelled], unlabelled])
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return batch._replace(images=images), pseudo
