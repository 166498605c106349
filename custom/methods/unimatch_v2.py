"""UniMatch V2: a teacher's confident pseudo-labels for two strong views (Yang et al., arXiv 2410.10777)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.methods.trainer import Batch, MethodTrainer, dice_and_cross_entropy
from custom.transforms.copy_paste import mix
from custom.transforms.cutmix import cutmix_masks

__all__ = ["UniMatchV2", "complementary_factors"]


class UniMatchV2(MethodTrainer):
    """L = (L_sup + (U(s1) + U(s2)) / 2) / 2, with s1 and s2 two strong views of the unlabelled images.

    z = argmax p and c = max p are those of the teacher for the weak view. Each strong view has boxes of its own
    (`cutmix_masks`), which show the image of row B_u - 1 - i; z and c are pasted with them. Then
    "masked" is U(s) = 1 / N sum over all N pixels of 1[c >= threshold] CE(f(s), z), as released, and
    "dice" is the Dice loss over the pixels with c >= threshold, as in the medical release of UniMatch V1.
    The student sees the labelled rows alone, then both strong views at once, with `complementary_factors`.
    Nothing is ramped: lambda is not used. Without unlabelled images L is L_sup.

    The teacher is in evaluation mode. Its parameters are the moving average of the student's; its buffers, which are
    the running statistics of batch normalisation, are those of the student after its last step (`MeanTeacher`), where
    the release averages them as well.

    Args:
        pseudo: "masked" or "dice".
        threshold: probability that a pseudo-label needs.
        cutmix_probability: of a box, for each image and view.
        kwargs: see `MethodTrainer`; `network` is a `MeanTeacher` of a `UNet`.

    Raises:
        InputError: unknown `pseudo`, or a threshold or probability outside [0, 1].
    """

    strong_views = 2

    def __init__(
        self, *, pseudo: str = "masked", threshold: float = 0.95, cutmix_probability: float = 0.5, **kwargs: Any
    ) -> None:
        if pseudo not in ("masked", "dice"):
            raise InputError(f"pseudo {pseudo!r}: choose 'masked' or 'dice'")
        for name, value in (("threshold", threshold), ("cutmix_probability", cutmix_probability)):
            if not 0 <= value <= 1:
                raise InputError(f"{name} {value}: give a number from 0 to 1")
        super().__init__(**kwargs)
        self.pseudo = pseudo
        self.threshold = threshold
        self.cutmix_probability = cutmix_probability
        self.dice = dice_and_cross_entropy(1.0, 0.0)

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        student, labelled = self.network.student, batch.labelled
        supervised = self.loss_function(self.forward(student, batch.images[:labelled]), batch.labels)
        if not batch.unlabelled:
            return supervised, {"supervised": supervised}
        pseudo, confidence = self._teach(batch.images[labelled:])
        mixed = [self._cutmix(view, pseudo, confidence) for view in batch.unlabelled_strong_views[:2]]
        views = torch.cat([view for view, _, _ in mixed])
        factors = complementary_factors(student.encoder.widths, batch.unlabelled, views.device)
        logits = self.forward(student, views, factors, method="logits_with_factors").chunk(2)
        terms = {"supervised": supervised}
        for number, (view_logits, (_, labels, certain)) in enumerate(zip(logits, mixed, strict=True), start=1):
            terms[f"strong_view_{number}"] = self.unsupervised_loss(view_logits, labels, certain >= self.threshold)
        terms["certain_share"] = (confidence >= self.threshold).float().mean()
        return (supervised + (terms["strong_view_1"] + terms["strong_view_2"]) / 2) / 2, terms

    def unsupervised_loss(self, logits: Tensor, labels: Tensor, certain: Tensor) -> Tensor:
        """U of logits [B, K, H, W], pseudo-labels [B, 1, H, W] and which of them count, bool [B, 1, H, W]."""
        if self.pseudo == "dice":
            return self.dice(logits, torch.where(certain, labels, IGNORED_LABEL))
        return (certain[:, 0] * cross_entropy(logits, labels[:, 0].long(), reduction="none")).mean()

    @torch.no_grad()
    def _teach(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pseudo-labels and their probabilities, each [B, 1, H, W], float; every iteration sets training mode again."""
        teacher = self.network.teacher.eval()
        confidence, labels = self.forward(teacher, images).softmax(dim=1).max(dim=1, keepdim=True)
        return labels.float(), confidence

    def _cutmix(self, *rows: Tensor) -> list[Tensor]:
        """Each of the tensors with the same boxes, filled from the flipped batch."""
        masks = cutmix_masks(len(rows[0]), *rows[0].shape[-2:], self.cutmix_probability, rows[0].device)
        return [mix(each, each.flip(0), masks) for each in rows]

    def after_step(self) -> None:
        """Move the teacher."""
        self.network.update_teacher()


def complementary_factors(widths: Sequence[int], images: int, device: torch.device | None = None) -> list[Tensor]:
    """Complementary channel dropout: what one view of an image loses, the other one keeps at twice its value.

    The factors of the first views are M in {0, 2}, with probability 1/2 each, those of the second ones 2 - M; for each
    image, level and channel anew. Half of the images (rounded down), drawn at random, have factors of 1 in both views.

    Args:
        widths: channels of each level of the encoder.
        images: number of images, B.
        device: where the factors go.

    Returns:
        For each level [2 B, channels, 1, 1]: the first views, then the second ones.
    """
    kept = torch.randperm(images)[: images // 2]
    factors = []
    for channels in widths:
        first = 2.0 * torch.randint(2, (images, channels, 1, 1))
        first[kept] = 1.0
        factors.append(torch.cat([first, 2 - first]).to(device))
    return factors
