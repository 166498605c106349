"""MagicNet: images cut into cells, mixed and put together again, beside a mean teacher (Chen et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from custom.errors import InputError
from custom.methods.trainer import Batch, MethodTrainer, dice_and_cross_entropy
from custom.networks.running_averages import running_averages_on_hold

__all__ = ["MagicNet", "PseudoLabelShares"]


class PseudoLabelShares(nn.Module):
    """How frequent each class is in the pseudo-labels of the last full period, over the most frequent one.

    Args:
        num_classes: K, with the background.
        period: iterations after which the shares are renewed.
    """

    def __init__(self, num_classes: int, period: int = 20) -> None:
        super().__init__()
        self.period = period
        self.register_buffer("counts", torch.zeros(num_classes))
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.register_buffer("shares", torch.zeros(num_classes))  # none yet: pseudo-labels are the teacher's

    @torch.no_grad()
    def update(self, pseudo_labels: Tensor) -> None:
        """Take in class indices of any shape, int64."""
        counts = torch.bincount(pseudo_labels.flatten(), minlength=len(self.counts)).to(self.counts)
        self.counts += idist.all_reduce(counts)
        self.updates += 1
        if self.updates % self.period == 0:
            self.shares.copy_(self.counts / self.counts.max())
            self.counts.zero_()


class MagicNet(MethodTrainer):
    """L = L_sup + w_loc L_loc + lambda Dice(p_x^u, y_u), with three predictions of the student.

    z sees the images as they are; z_x sees mixed images, of which each cell may be another image's, and puts the
    features back; z_w sees each cell by itself, see `MagicNetworks`.

        L_sup = (CE(z^l, y) + Dice(p^l, y) + Dice(p_x^l, y) + Dice(p_w^l, y)) / 4
        L_loc = CE of where a cell is from, by its features alone, over all images
        y_u   = argmax((1 - omega) q + omega sg[z_w^u]), and argmax q in the first `blend_start` of the run

    q are the teacher's logits for images with noise clamp(0.1 N(0, 1), -0.2, 0.2), and omega of a pixel is how frequent
    the teacher's class is in pseudo-labels, see `PseudoLabelShares`: 1 for the background, so that frequent classes
    follow the cells and rare ones the teacher. Dice has squared denominators and all classes. The student predicts.

    Mixed images and cells are normalised by their batch, but do not move the running averages, by which the student
    predicts (ours; the release has instance normalisation). Location is that in the augmented image: where flips and
    rotations are used, or an object may be anywhere, it says little; `location_weight: 0` leaves it out.

    Args:
        location_weight: w_loc.
        cell_branch: false leaves out z_w and with it L_loc and omega; L_sup is then the mean of three parts.
        blend_start: share of the run; the release begins after 100 of 30,000 or 70,000 iterations.
        blended_cells: "unlabelled" takes z_w of the same images. "released_2023" takes that of the first B_u images of
            the batch, labelled ones, as the release did until 2023-12-15, and as those of GA and SCDL do.
        noise: standard deviation of the noise; it is cut at twice that.
        kwargs: see `MethodTrainer`; `network` is a `MagicNetworks`. A `loss_function` that is given takes the place of
            (CE + Dice) / 2 of z.

    Raises:
        InputError: unknown `blended_cells`, or `blend_start` out of range.
    """

    def __init__(
        self,
        *,
        location_weight: float = 0.1,
        cell_branch: bool = True,
        blend_start: float = 1 / 300,
        blended_cells: str = "unlabelled",
        noise: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if blended_cells not in ("unlabelled", "released_2023"):
            raise InputError(f"blended_cells {blended_cells!r}: choose 'unlabelled' or 'released_2023'")
        if not 0 <= blend_start <= 1:
            raise InputError(f"blend_start {blend_start}: give a share of the run, from 0 to 1")
        super().__init__(**kwargs)
        self.location_weight = location_weight
        self.cell_branch = cell_branch
        self.blend_start = blend_start
        self.blended_cells = blended_cells
        self.noise = noise
        self.dice = self.default_dice()
        self.shares = PseudoLabelShares(self.network.num_classes).to(self.state.device)

    def default_dice(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Dice, of logits and class indices."""
        return dice_and_cross_entropy(1.0, 0.0)

    def stateful_objects(self) -> dict[str, Any]:
        """See `MethodTrainer.stateful_objects`; with the shares of the classes."""
        return super().stateful_objects() | {"shares": self.shares}

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        network, labelled, cells = self.network, batch.labelled, None
        plain = self.forward(network.student, batch.images)
        with running_averages_on_hold(network.student):
            mixed = self.forward(network, batch.images, self._order(len(batch.images)), method="mixed_logits")
            if self.cell_branch:
                cells, locations = self.forward(network, batch.images, method="cell_logits")
        parts = [2 * self.loss_function(plain[:labelled], batch.labels), self.dice(mixed[:labelled], batch.labels)]
        if cells is not None:
            parts.append(self.dice(cells[:labelled], batch.labels))
        terms = {"supervised": sum(parts) / (len(parts) + 1)}
        loss = terms["supervised"]
        if cells is not None:
            places = torch.arange(network.cells**2, device=locations.device).repeat(len(batch.images))
            terms["location"] = cross_entropy(locations, places)
            loss = loss + self.location_weight * terms["location"]
        if batch.unlabelled:
            pseudo_labels = self._pseudo_labels(batch, cells)
            terms["consistency"] = self.dice(mixed[labelled:], pseudo_labels)
            loss = loss + weight * terms["consistency"]
        return loss, terms

    def _order(self, images: int) -> Tensor:
        """A permutation of the images for each cell, [cells^2, B]."""
        return torch.rand(self.network.cells**2, images, device=self.state.device).argsort(dim=1)

    @torch.no_grad()
    def _pseudo_labels(self, batch: Batch, cells: Tensor | None) -> Tensor:
        """y_u, class indices [B_u, 1, H, W], from the logits z_w of all rows."""
        images = batch.images[batch.labelled :]
        noise = (self.noise * torch.randn_like(images)).clamp(-2 * self.noise, 2 * self.noise)
        logits = self.forward(self.network.teacher, images + noise)
        if cells is not None and self.progress >= self.blend_start:
            cells = cells[batch.labelled :] if self.blended_cells == "unlabelled" else cells[: batch.unlabelled]
            omega = self.shares.shares[logits.argmax(dim=1, keepdim=True)]
            logits = (1 - omega) * logits + omega * cells
        pseudo_labels = logits.argmax(dim=1, keepdim=True)
        self.shares.update(pseudo_labels)
        return pseudo_labels

    def after_step(self) -> None:
        """Move the teacher."""
        self.network.update_teacher()
