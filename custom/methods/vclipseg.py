"""VCLIPSeg: two decoders, weighted pseudo-labels, classes tied to text vectors (Li et al., MICCAI 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, interpolate, normalize

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["VCLIPSeg", "decoder_weights", "foreground_dice_loss", "text_similarity_loss"]

AXES = {"channels": 1, "width": 3}


class VCLIPSeg(MethodTrainer):
    """L = 1/2 sum_i d_i + lambda sum_i (CE(f_i, y*) + D(p_i, y*)) + w L_sim, for the decoders i.

    d_i is D(p_i, y) of the labelled rows, D the `foreground_dice_loss`; there is no cross-entropy with labels. The
    pseudo-labels y* = argmax sum_i w_i p_i, of all rows, labelled ones too, have the `decoder_weights` of d_i; no
    gradient goes through them. L_sim is `text_similarity_loss`. The first decoder predicts.
    Without unlabelled images the term with lambda is left out.

    The vectors of the classes come with the network. **By default they are random and orthogonal**, not CLIP's: no file
    of text features belongs to the project (see `VCLIPUNet`, `text_embeddings`).

    Source: the release (`train_3d.py`), 3-D and of two classes, and the paper's abstract; the paper's equations were
    not seen. Inferred: more than two classes, the mean of D over the foreground classes; classes without an agreeing
    position are left out of L_sim, which is NaN then in the release; and the axis of normalisation.

    Args:
        similarity_weight: w.
        normalised_axis: of the projections. "channels", or "width", the last axis of the maps, as in the release, whose
            line was made for flattened features.
        kwargs: see `MethodTrainer`; `network` is a `VCLIPSegNetworks`, and `loss_function` is D if None.

    Raises:
        InputError: unknown `normalised_axis`, or a negative weight.
    """

    def __init__(self, *, similarity_weight: float = 0.5, normalised_axis: str = "channels", **kwargs: Any) -> None:
        if normalised_axis not in AXES:
            raise InputError(f"normalised_axis {normalised_axis!r}: choose 'channels' or 'width'")
        if not similarity_weight >= 0:
            raise InputError(f"similarity_weight {similarity_weight}: give a number from 0 on")
        super().__init__(**kwargs)
        self.similarity_weight = similarity_weight
        self.normalised_axis = normalised_axis
        self.pseudo_dice = foreground_dice_loss()

    def default_loss(self) -> nn.Module:
        """D."""
        return foreground_dice_loss()

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        labelled, network = batch.labelled, self.network
        logits, projections = self.forward(network, batch.images, method="all_logits_with_projections")
        losses = torch.stack([self.loss_function(each[:labelled], batch.labels) for each in logits])
        similarity = text_similarity_loss(
            [normalize(each[:labelled], dim=AXES[self.normalised_axis]) for each in projections],
            [each[:labelled] for each in logits],
            batch.labels,
            network.text_vectors,
        )
        terms = {"supervised": losses.sum() / 2, "similarity": similarity}
        loss = terms["supervised"] + self.similarity_weight * similarity
        if batch.unlabelled:
            pseudo = self.pseudo_labels(logits, losses)
            terms["consistency"] = sum(cross_entropy(each, pseudo[:, 0]) for each in logits)
            terms["consistency_dice"] = sum(self.pseudo_dice(each, pseudo) for each in logits)
            loss = loss + weight * (terms["consistency"] + terms["consistency_dice"])
        return loss, terms

    @torch.no_grad()
    def pseudo_labels(self, logits: Sequence[Tensor], losses: Tensor) -> Tensor:
        """y*, class indices [B, 1, H, W], from the logits of the decoders and their d, [decoders]."""
        weights = decoder_weights(losses)
        mean = sum(share * each.softmax(dim=1) for share, each in zip(weights, logits, strict=True))
        return mean.argmax(dim=1, keepdim=True)


def foreground_dice_loss() -> DiceLoss:
    """D: 1 - the mean of (2 sum p y + 1e-8) / (sum p + sum y + 1e-8) over the foreground classes, over the whole batch.

    It is called with logits [B, K, H, W] and class indices [B, 1, H, W]; ignored pixels are in no sum.
    """
    return DiceLoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=True,
        smooth_nr=1e-8,
        smooth_dr=1e-8,
        ignore_index=IGNORED_LABEL,
    )


def decoder_weights(losses: Tensor) -> Tensor:
    """w = softmax(1 - sigmoid(d)) of the Dice losses d, [decoders]: of two, each has between 0.443 and 0.557."""
    return (1 - losses.sigmoid()).softmax(dim=0)


def text_similarity_loss(
    features: Sequence[Tensor], logits: Sequence[Tensor], labels: Tensor, text_vectors: Tensor
) -> Tensor:
    """1 - mean_c cos(m_c, e_c), over the classes that have a position where label and all predictions say c.

    m_c is the mean of all features at these positions. Labels and logits are resized to the features by the nearest
    pixel. 0 where no class has such a position.

    Args:
        features: of each decoder, [B, D, h, w].
        logits: of each decoder, [B, K, H, W]; they get no gradient.
        labels: class indices [B, 1, H, W], float; ignored pixels agree with nothing.
        text_vectors: e, [K, D].
    """
    size = features[0].shape[-2:]
    true = interpolate(labels, size=size, mode="nearest").long()
    agreed = torch.ones_like(true, dtype=torch.bool)
    for each in logits:
        agreed &= interpolate(each.detach(), size=size, mode="nearest").argmax(dim=1, keepdim=True) == true
    classes = torch.arange(len(text_vectors), device=true.device).reshape(1, -1, 1, 1)
    inside = (agreed & (true == classes)).float()
    counts = inside.sum(dim=(0, 2, 3))[:, None]
    means = torch.einsum("bkhw,bdhw->kd", inside, sum(features)) / (len(features) * counts).clamp(min=1)
    present = counts > 0
    cosines = cosine_similarity(torch.where(present, means, text_vectors), text_vectors)
    return torch.where(present[:, 0], 1 - cosines, 0).sum() / present.sum().clamp(min=1)
