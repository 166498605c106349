"""SemiGDA, stage 2: segmentation with cross pseudo-labels and copy-paste mixing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from custom.errors import InputError
from custom.labels import decided
from custom.losses import ConsistencyWeight, PseudoLabels, SoftLabelDiceLoss
from custom.methods.semigda_alignment import alignment_losses
from custom.methods.trainer import Batch, MethodTrainer
from custom.networks import BranchOutputs
from custom.transforms.copy_paste import copy_paste_mask, mix

__all__ = ["SemiGDASegmentation"]


class SemiGDASegmentation(MethodTrainer):
    """Trains encoder, mapper and adapters on masks; unlabelled images supervise the branches through each other.

    L = L_sup + w (L_u + L_mix) (release: `train_seg.py`), with b a branch and b' the other one:
    L_sup = sum_b Dice(p_b^l, y), L_u = sum_b Dice(p_b^u, PL(p_b'^u)), and, once mixing has begun,
    L_mix = sum_b Dice(p_b^mix, y_b'^mix) on images of which one part is labelled and the other is not.

    Args:
        consistency_weight: w over time; None for that of the release.
        supervised_weight: weight of L_sup; 0 leaves it out, for ablations.
        pseudo_labels: PL; None for `PseudoLabels` at `pseudo_temperature` that keep the largest component where each
            class is one connected piece.
        pseudo_temperature: sharpening temperature of PL.
        pseudo: "hard" for L_u as above (release); "soft" for one symmetric Dice between the branches' outputs, with
            gradients to both (paper Eq. 10); "off" for no L_u: pseudo-labels then serve the mixing alone.
        mixing_start: share of the stage after which mixing begins; 1 switches it off.
        mixing_share: side of the pasted rectangle over the image's side.
        latent_weight: weight of the alignment losses of stage 1 during this stage (0 in the release; the paper's
            Eqs. 12 to 14 keep them: 1).
        kwargs: see `MethodTrainer`; `network` is a `SemiGDA`. `loss_function(soft_labels, target)` is the Dice loss,
            which leaves pixels labelled `IGNORED_LABEL` out; None for `SoftLabelDiceLoss`.

    Raises:
        InputError: unknown `pseudo`.

    Attributes:
        pseudo_forms: what `pseudo` may be.
    """

    pseudo_forms = ("hard", "soft", "off")

    def __init__(
        self,
        *,
        consistency_weight: ConsistencyWeight | None = None,
        supervised_weight: float = 1.0,
        pseudo_labels: PseudoLabels | None = None,
        pseudo_temperature: float = 0.1,
        pseudo: str = "hard",
        mixing_start: float = 1 / 3,
        mixing_share: float = 2 / 3,
        latent_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(consistency_weight=consistency_weight or ConsistencyWeight(), **kwargs)
        if pseudo not in self.pseudo_forms:
            *forms, last = map(repr, self.pseudo_forms)
            raise InputError(f"pseudo {pseudo!r}: choose {', '.join(forms)} or {last}")
        if pseudo_labels is None:
            pseudo_labels = PseudoLabels(self.network.num_classes, pseudo_temperature, self.one_connected_component)
        self.pseudo_labels = pseudo_labels
        self.supervised_weight = supervised_weight
        self.pseudo = pseudo
        self.mixing_start = mixing_start
        self.mixing_share = mixing_share
        self.latent_weight = latent_weight

    def default_loss(self) -> nn.Module:
        """Dice of soft ordinal labels."""
        return SoftLabelDiceLoss(self.network.num_classes)

    def pseudo_loss(self, soft_labels: Tensor, target: Tensor) -> Tensor:
        """The loss where the target is, at least in part, a pseudo-label."""
        return self.loss_function(soft_labels, target)

    def step(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.step`."""
        terms: dict[str, Tensor] = {}
        loss = self.update(self.losses(batch, weight, terms), self.optimizer)
        return loss, terms

    def losses(self, batch: Batch, weight: float, terms: dict[str, Tensor]) -> Iterator[Tensor]:
        """The clean and the mixed loss, one after the other: only one of the two graphs is in memory."""
        loss, pseudo = self.clean_loss(batch, weight, terms)
        yield loss
        if pseudo is not None and self._is_mixing:
            yield weight * self.mixed_loss(batch, pseudo, terms)

    @property
    def _is_mixing(self) -> bool:
        state = self.state
        return state.iteration > self.mixing_start * (state.epoch_length * state.max_epochs)

    def clean_loss(
        self, batch: Batch, weight: float, terms: dict[str, Tensor], pseudo: BranchOutputs | None = None
    ) -> tuple[Tensor, BranchOutputs | None]:
        """L_sup + w L_u, and the alignment losses if they are kept; puts its terms into `terms`.

        Args:
            batch: labelled and unlabelled images.
            weight: w.
            terms: is added to.
            pseudo: pseudo-labels that each branch gives the other one; None makes them of the predictions here.

        Returns:
            The loss, and the pseudo-labels of both branches for the unlabelled images; None if there are none.
        """
        labelled, dice = batch.labelled, self.loss_function
        with self.autocast():
            latents = self.network.encode_images(batch.images, with_noise=True)
            p_v, p_r = self.network.decode_latents(latents)
        terms["supervised_image_branch"] = dice(p_v[:labelled], batch.labels)
        terms["supervised_mask_branch"] = dice(p_r[:labelled], batch.labels)
        loss = self.supervised_weight * (terms["supervised_image_branch"] + terms["supervised_mask_branch"])
        if batch.unlabelled:
            u_v, u_r = p_v[labelled:], p_r[labelled:]
            crossed = self.pseudo == "hard" or (pseudo is not None and self.pseudo != "off")
            if pseudo is None:
                pseudo = BranchOutputs(self.pseudo_labels(u_v), self.pseudo_labels(u_r))
            if crossed:
                terms["consistency_image_branch"] = self.pseudo_loss(u_v, pseudo.mask_branch)
                terms["consistency_mask_branch"] = self.pseudo_loss(u_r, pseudo.image_branch)
                loss = loss + weight * (terms["consistency_image_branch"] + terms["consistency_mask_branch"])
            elif self.pseudo == "soft":
                terms["consistency"] = dice(u_v, u_r)
                loss = loss + weight * terms["consistency"]
            shares = [((labels >= 0.5) & decided(labels)).float().mean() for labels in pseudo]
            terms["pseudo_label_foreground"] = (shares[0] + shares[1]) / 2
        if self.latent_weight > 0:
            target = self.network.encode_labels(batch.labels)
            terms["latent"], _ = alignment_losses(
                latents.image_branch, latents.mask_branch, target, weight, labels=batch.labels
            )
            loss = loss + self.latent_weight * terms["latent"]
        return loss, pseudo

    def mixed_loss(self, batch: Batch, pseudo: BranchOutputs, terms: dict[str, Tensor]) -> Tensor:
        """L_mix on x_A (labelled outside, unlabelled inside the rectangle) and x_B (the other way round)."""
        pairs = min(batch.labelled, batch.unlabelled)
        x_l, x_u, y = batch.images[:pairs], batch.images[batch.labelled :][:pairs], batch.labels[:pairs]
        mask = copy_paste_mask(*x_l.shape[-2:], share=self.mixing_share, device=x_l.device)
        x_mix = torch.cat([mix(x_l, x_u, mask), mix(x_u, x_l, mask)])
        y_v, y_r = (torch.cat([mix(y, pl[:pairs], mask), mix(pl[:pairs], y, mask)]) for pl in pseudo)
        with self.autocast():
            p_v, p_r = self.network.predict_branches(x_mix)
        terms["mixed_image_branch"] = self.pseudo_loss(p_v, y_r)
        terms["mixed_mask_branch"] = self.pseudo_loss(p_r, y_v)
        return terms["mixed_image_branch"] + terms["mixed_mask_branch"]
