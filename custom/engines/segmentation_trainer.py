"""Stage 2: segmentation with cross pseudo-labels and copy-paste mixing."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor

from custom.engines.alignment_trainer import alignment_losses
from custom.engines.batches import fire_iteration_events, stack_images
from custom.errors import InputError
from custom.losses import ConsistencyWeight, PseudoLabels
from custom.networks import BranchOutputs
from custom.transforms.copy_paste import copy_paste_mask, mix

__all__ = ["SegmentationTrainer"]


class SegmentationTrainer(SupervisedTrainer):
    """Trains encoder, mapper and adapters on masks; unlabelled images supervise the branches through each other.

    L = L_sup + w L_u + w L_mix (release; methods A8), with b a branch and b' the other one:
    L_sup = sum_b Dice(p_b^l, y), L_u = sum_b Dice(p_b^u, PL(p_b'^u)), and, once mixing has begun,
    L_mix = sum_b Dice(p_b^mix, y_b'^mix) on images of which one part is labelled and the other is not.

    The clean and the mixed loss are sent backward one after the other: the sum of the gradients is the same and only
    one of the two graphs is in memory.

    Args:
        consistency_weight: w over time.
        supervised_weight: weight of L_sup; 0 leaves it out, for ablations.
        pseudo_labels: hard pseudo-labels, see `PseudoLabels`.
        pseudo: "hard" for L_u as above (release); "soft" for one symmetric Dice between the branches' outputs, with
            gradients to both (paper Eq. 10); "off" for no L_u: pseudo-labels then serve the mixing alone.
        mixing_start: share of the stage after which mixing begins; 1 switches it off.
        mixing_share: side of the pasted rectangle over the image's side.
        latent_weight: weight of the alignment losses of stage 1 during this stage (0 in the release; the paper's
            Eqs. 12 to 14 keep them: 1).
        amp: bfloat16 autocast; the decoder's last layers and all losses stay in float32.
        channels_last: keep images and network in channels-last memory order.
        kwargs: arguments of MONAI's `SupervisedTrainer`; `loss_function(soft_labels, target)` is the Dice loss, which
            leaves pixels labelled `IGNORED_LABEL` out, and batches are those of `PairedLoader`.
    """

    def __init__(
        self,
        *,
        consistency_weight: ConsistencyWeight,
        pseudo_labels: PseudoLabels,
        supervised_weight: float = 1.0,
        pseudo: str = "hard",
        mixing_start: float = 1 / 3,
        mixing_share: float = 2 / 3,
        latent_weight: float = 0.0,
        amp: bool = False,
        channels_last: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(decollate=False, **kwargs)
        if pseudo not in ("hard", "soft", "off"):
            raise InputError(f"pseudo {pseudo!r}: choose 'hard', 'soft' or 'off'")
        self.consistency_weight = consistency_weight
        self.pseudo_labels = pseudo_labels
        self.supervised_weight = supervised_weight
        self.pseudo = pseudo
        self.mixing_start = mixing_start
        self.mixing_share = mixing_share
        self.latent_weight = latent_weight
        self.autocast = amp
        self.channels_last = channels_last

    def _iteration(self, engine: SegmentationTrainer, batchdata: dict) -> dict:
        """One step on {"labelled": {"image", "label"}, "unlabelled": {"image"}}; the latter may be missing."""
        state, network, dice = engine.state, engine.network, engine.loss_function
        images, y = stack_images(batchdata, state.device, engine.channels_last)
        labelled, has_unlabelled = len(y), len(images) > len(y)
        weight = engine.consistency_weight(state.iteration - 1, state.epoch_length, state.max_epochs)
        network.train()
        engine.optimizer.zero_grad(set_to_none=True)

        with torch.autocast(state.device.type, torch.bfloat16, enabled=engine.autocast):
            latents = network.encode_images(images, with_noise=True)
            p_v, p_r = network.decode_latents(latents)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        terms = {
            "supervised_image_branch": dice(p_v[:labelled], y),
            "supervised_mask_branch": dice(p_r[:labelled], y),
        }
        loss = engine.supervised_weight * (terms["supervised_image_branch"] + terms["supervised_mask_branch"])
        if has_unlabelled:
            u_v, u_r = p_v[labelled:], p_r[labelled:]
            pseudo_v, pseudo_r = engine.pseudo_labels(u_v), engine.pseudo_labels(u_r)
            if engine.pseudo == "hard":
                terms["consistency_image_branch"] = dice(u_v, pseudo_r)
                terms["consistency_mask_branch"] = dice(u_r, pseudo_v)
                loss = loss + weight * (terms["consistency_image_branch"] + terms["consistency_mask_branch"])
            elif engine.pseudo == "soft":
                terms["consistency"] = dice(u_v, u_r)
                loss = loss + weight * terms["consistency"]
            terms["pseudo_label_foreground"] = ((pseudo_v > 0).float().mean() + (pseudo_r > 0).float().mean()) / 2
        if engine.latent_weight > 0:
            target = network.encode_labels(y)
            latent_loss, _ = alignment_losses(latents.image_branch, latents.mask_branch, target, weight, labels=y)
            terms["latent"] = latent_loss
            loss = loss + engine.latent_weight * latent_loss
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        loss.backward()

        if has_unlabelled and state.iteration > engine.mixing_start * (state.epoch_length * state.max_epochs):
            pseudo = BranchOutputs(pseudo_v, pseudo_r)
            mixed_loss, mixed_terms = engine._mixed_loss(images[:labelled], y, images[labelled:], pseudo)
            terms |= mixed_terms
            (weight * mixed_loss).backward()
            loss = loss.detach() + weight * mixed_loss.detach()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        return fire_iteration_events(engine, loss, terms, weight)

    def _mixed_loss(
        self, x_l: Tensor, y: Tensor, x_u: Tensor, pseudo: BranchOutputs
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_mix on x_A (labelled outside, unlabelled inside the rectangle) and x_B (the other way round)."""
        pairs = min(len(x_l), len(x_u))
        x_l, y, x_u = x_l[:pairs], y[:pairs], x_u[:pairs]
        mask = copy_paste_mask(*x_l.shape[-2:], share=self.mixing_share, device=x_l.device)
        x_mix = torch.cat([mix(x_l, x_u, mask), mix(x_u, x_l, mask)])
        y_v, y_r = (torch.cat([mix(y, pl[:pairs], mask), mix(pl[:pairs], y, mask)]) for pl in pseudo)
        with torch.autocast(x_l.device.type, torch.bfloat16, enabled=self.autocast):
            p_v, p_r = self.network.predict_branches(x_mix)
        terms = {"mixed_image_branch": self.loss_function(p_v, y_r), "mixed_mask_branch": self.loss_function(p_r, y_v)}
        return terms["mixed_image_branch"] + terms["mixed_mask_branch"], terms
