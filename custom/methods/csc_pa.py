"""CSC-PA: masked self-training on features changed by those of other images and of edges (Ding et al., CVPR 2025)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate, kl_div, normalize, one_hot, pad

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.methods.trainer import Batch, MethodTrainer
from custom.networks.csc_pa import ChangedFeatures

__all__ = ["CSCPA", "affinity", "certain_pixels", "edges", "mask_cells", "neighbours", "signs"]

AFFINITIES = ("differentiable", "released", "off")


class CSCPA(MethodTrainer):
    """After a share `warm_up` of supervised training, two updates in each iteration, each with the changed features.

    1. L_sup(l) + PAL_l of the pass of all rows.
    2. L_sup(l) + CE' + (PAL_l + PAL_u) / 2 of the pass of labelled rows and masked unlabelled ones (`mask_cells`,
       k = 0.7 (1 - t/T)). CE' is N / n^2 times the cross-entropy, summed over the n of N unlabelled pixels of which the
       first pass is certain, with its classes as labels: those whose entropy is below its percentile
       100 - 20 (1 - t/T).

    Then the memory gets features of the first pass at `edges`: of labelled pixels with a right class, and of certain
    unlabelled ones. See `CSCPANetworks` for the features, which the prediction goes without.

    PAL, the pixel affinity loss, is the divergence of the softmax over each column of (A + 1) / 2 from that of its
    target, summed over positions and divided by the number of images. A is the `affinity` of the features with signs of
    the predicted classes. The target is the mean sign of the true classes for labelled rows, and the affinity of the
    first pass for unlabelled ones; undecided and uncertain pixels have no sign on either side. In the release **both
    sides are without gradient**, so that the loss is shown and teaches nothing ("released").

    Without unlabelled images L_sup of the plain U-Net is all. lambda is not used.

    Source: the release, of two classes; the paper was not seen beyond its abstract. Inferred: the gradient of A, which
    flows through the similarities; everything about more than two classes.

    Args:
        warm_up: share of the run, in [0, 1], that is supervised alone.
        affinity: "differentiable", "released" (see above) or "off".
        kwargs: see `MethodTrainer`; `network` is a `CSCPANetworks`.

    Raises:
        InputError: unknown `affinity`, or a share out of range.
    """

    def __init__(self, *, warm_up: float = 0.05, affinity: str = "differentiable", **kwargs: Any) -> None:
        if affinity not in AFFINITIES:
            raise InputError(f"affinity {affinity!r}: choose 'differentiable', 'released' or 'off'")
        if not 0 <= warm_up <= 1:
            raise InputError(f"warm_up {warm_up}: give a share of the run, from 0 to 1")
        super().__init__(**kwargs)
        self.warm_up = warm_up
        self.affinity = affinity

    def step(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.step`; the loss is the sum of those of both updates."""
        labelled = batch.labelled
        if not batch.unlabelled or self.progress < self.warm_up:
            logits = self.forward(self.network.deployed, batch.images[:labelled])
            loss = self.loss_function(logits, batch.labels)
            self.update(loss, self.optimizer)
            return loss, {"supervised": loss}
        first = self._pass(batch.images, labelled)
        loss, terms = self.first_loss(batch, first)
        self.update(loss, self.optimizer)

        first = ChangedFeatures(*(each.detach() for each in first))
        masked = mask_cells(batch.images[labelled:], first.logits[labelled:], 0.7 * (1 - self.progress))
        second = self._pass(torch.cat([batch.images[:labelled], masked]), labelled)
        second_loss, second_terms = self.second_loss(batch, first, second)
        self.update(second_loss, self.optimizer)
        self.network.remember(self.edge_features(batch, first))
        return loss.detach() + second_loss.detach(), terms | second_terms

    def first_loss(self, batch: Batch, first: ChangedFeatures) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the first update."""
        terms = {"supervised": self.loss_function(first.logits[: batch.labelled], batch.labels)}
        loss = terms["supervised"]
        if self.affinity != "off":
            terms["affinity"] = self.labelled_affinity_loss(batch, first)
            loss = loss + terms["affinity"]
        return loss, terms

    def second_loss(
        self, batch: Batch, first: ChangedFeatures, second: ChangedFeatures
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the second update, from both passes; the first one is without gradient."""
        labelled = batch.labelled
        taught, logits = first.logits[labelled:], second.logits[labelled:]
        certain = certain_pixels(taught, self.certain_share)
        each = cross_entropy(logits, taught.argmax(dim=1), reduction="none")
        kept = certain.sum().clamp(min=1)
        terms = {
            "supervised_masked": self.loss_function(second.logits[:labelled], batch.labels),
            "pseudo": certain.numel() / kept * (certain * each).sum() / kept,
            "certain_share": certain.float().mean(),
        }
        loss = terms["supervised_masked"] + terms["pseudo"]
        if self.affinity != "off":
            unlabelled = self.unlabelled_affinity_loss(batch, first, second)
            terms["affinity_masked"] = (self.labelled_affinity_loss(batch, second) + unlabelled) / 2
            loss = loss + terms["affinity_masked"]
        return loss, terms

    @property
    def certain_share(self) -> float:
        """Share of unlabelled pixels that count as certain: from 0.8 to 1."""
        return 1 - 0.2 * (1 - self.progress)

    def labelled_affinity_loss(self, batch: Batch, one: ChangedFeatures) -> Tensor:
        """PAL of the labelled rows of a pass."""
        features, classes = one.features[: batch.labelled], _classes(one)[: batch.labelled]
        true = interpolate(batch.labels, size=features.shape[-2:], mode="nearest")
        unknown, num_classes = true == IGNORED_LABEL, self.network.num_classes
        predicted = affinity(features, signs(classes, num_classes, unknown))
        true_signs = signs(true, num_classes, unknown)
        target = true_signs.sum(dim=1) / (true_signs != 0).sum(dim=1).clamp(min=1)
        return self._divergence(predicted, target)

    def unlabelled_affinity_loss(self, batch: Batch, first: ChangedFeatures, second: ChangedFeatures) -> Tensor:
        """PAL of the unlabelled rows of the second pass."""
        rows, num_classes = slice(batch.labelled, None), self.network.num_classes
        uncertain = ~certain_pixels(_coarse_logits(first)[rows], self.certain_share)[:, None]
        predicted, target = (
            affinity(one.features[rows], signs(_classes(one)[rows], num_classes, uncertain)) for one in (second, first)
        )
        return self._divergence(predicted, target)

    def _divergence(self, predicted: Tensor, target: Tensor) -> Tensor:
        """KL of two affinities [B, h, w] in [-1, 1]."""
        if self.affinity == "released":
            predicted = predicted.detach()
        logarithms = ((predicted + 1) / 2).log_softmax(dim=1)
        return kl_div(logarithms, ((target.detach() + 1) / 2).softmax(dim=1), reduction="batchmean")

    @torch.no_grad()
    def edge_features(self, batch: Batch, first: ChangedFeatures) -> Tensor:
        """Features of the first pass, [N, C], in random order, at edges where it is right or certain."""
        classes, labelled = _classes(first), batch.labelled
        true = interpolate(batch.labels, size=classes.shape[-2:], mode="nearest")
        right = classes[:labelled] == true
        certain = certain_pixels(_coarse_logits(first)[labelled:], self.certain_share)[:, None]
        chosen = (edges(classes) & torch.cat([right, certain]))[:, 0]
        vectors = first.features.movedim(1, -1)[chosen]
        return vectors[torch.randperm(len(vectors), device=vectors.device)]

    def _pass(self, images: Tensor, labelled: int) -> ChangedFeatures:
        return self.forward(self.network, images, labelled, method="changed")


def _coarse_logits(one: ChangedFeatures) -> Tensor:
    """Logits at the resolution of the features, [B, K, h, w], without gradient."""
    return interpolate(one.logits.detach(), size=one.features.shape[-2:], mode="nearest")


def _classes(one: ChangedFeatures) -> Tensor:
    """Predicted classes at the resolution of the features, [B, 1, h, w], float."""
    return _coarse_logits(one).argmax(dim=1, keepdim=True).float()


@torch.no_grad()
def certain_pixels(logits: Tensor, share: float) -> Tensor:
    """Which pixels have an entropy below the quantile `share` of all: logits [B, K, H, W] -> bool [B, H, W]."""
    logarithms = logits.log_softmax(dim=1)
    entropy = -(logarithms.exp() * logarithms).sum(dim=1)
    return entropy < entropy.flatten().quantile(share)


def neighbours(maps: Tensor, outside: float = 0.0) -> Tensor:
    """The eight neighbours of each position: [B, C, h, w] -> [B, C, 8, h, w], with `outside` beyond the image."""
    height, width = maps.shape[-2:]
    padded = pad(maps, (1, 1, 1, 1), value=outside)
    shifts = [(row, column) for row in range(3) for column in range(3) if (row, column) != (1, 1)]
    return torch.stack([padded[..., row : row + height, column : column + width] for row, column in shifts], dim=2)


def edges(classes: Tensor) -> Tensor:
    """Where the eight neighbours are not all of one class; the background is beyond the image. Both [B, 1, h, w]."""
    around = neighbours(classes)
    return (around != around[:, :, :1]).any(dim=2)


def signs(classes: Tensor, num_classes: int, unknown: Tensor) -> Tensor:
    """+1 for a neighbour that is foreground and -1 for one that is not; 0 where it is unknown or beyond the image.

    With more than two classes +1 for a neighbour of the centre's class (inferred).

    Args:
        classes: [B, 1, h, w], float.
        num_classes: K.
        unknown: pixels without a class, bool [B, 1, h, w].

    Returns:
        [B, 8, h, w].
    """
    around = neighbours(classes)[:, 0]
    positive = around > 0 if num_classes == 2 else around == classes
    known = neighbours((~unknown).float())[:, 0]
    return torch.where(positive, known, -known)


def affinity(features: Tensor, neighbour_signs: Tensor) -> Tensor:
    """A = sum_n s_n sign_n / sum_n s_n over the neighbours with a sign, s_n = (1 + cos(f, f_n)) / 2.

    The release has the cosine itself for s_n, whose sum may be zero (inferred).

    Args:
        features: [B, C, h, w].
        neighbour_signs: [B, 8, h, w], -1, 0 or 1.

    Returns:
        [B, h, w], in [-1, 1].
    """
    directions = normalize(features, dim=1)
    cosines = (neighbours(directions) * directions[:, :, None]).sum(dim=1)
    weights = (1 + cosines) / 2 * neighbour_signs.abs()
    return (weights * neighbour_signs).sum(dim=1) / (weights.sum(dim=1) + 1e-6)


@torch.no_grad()
def mask_cells(images: Tensor, logits: Tensor, keep: float, cells: int = 8, masked_share: float = 0.7) -> Tensor:
    """Images with black cells, but for the most uncertain cells of the foreground.

    A cell's uncertainty is the mean of -p ln p, p = max softmax, over its pixels that are predicted as foreground. Of
    the cells with such pixels the share `keep`, rounded up, of the most uncertain ones stays. Of all others, foreground
    too, `masked_share`, rounded up and drawn at random, become 0.

    Args:
        images: [B, C, H, W].
        logits: [B, K, H, W].
        keep: from 0 to 1.
        cells: along each side; the release has 9 of 57 pixels.
        masked_share: from 0 to 1.
    """
    probability, classes = logits.softmax(dim=1).max(dim=1)
    foreground = (classes > 0).float()
    rows, columns = (_cell_of(length, cells, images.device) for length in images.shape[-2:])
    uncertainty = rows.T @ (-probability * (probability + 1e-10).log() * foreground) @ columns
    score = (uncertainty / (rows.T @ foreground @ columns + 1e-10)).flatten(1)
    kept_cells = ((score > 0).sum(dim=1, keepdim=True) * keep).ceil()
    kept = score.argsort(dim=1, descending=True).argsort(dim=1) < kept_cells
    order = torch.rand_like(score).masked_fill(kept, math.inf).argsort(dim=1).argsort(dim=1)
    masked = (order < (masked_share * (cells**2 - kept_cells)).ceil()).float().unflatten(1, (cells, cells))
    return images * (1 - rows @ masked @ columns.T)[:, None]


def _cell_of(length: int, cells: int, device: torch.device) -> Tensor:
    """Which cell a row or column belongs to, [length, cells], one-hot."""
    return one_hot(torch.arange(length, device=device) * cells // length, cells).float()
