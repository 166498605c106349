"""Stage 1: pull the latents of both branches onto the latent of the mask (dual alignment)."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim import Optimizer

from custom.engines.batches import fire_iteration_events, stack_images
from custom.labels import LabelCodec
from custom.labels.ignored import decided_cells, mean_loss
from custom.losses import ConsistencyWeight

__all__ = ["AlignmentEvaluator", "AlignmentTrainer", "alignment_losses"]


def alignment_losses(
    image_latent: Tensor,
    mask_latent: Tensor,
    target: Tensor,
    weight: float,
    supervised_weight: float = 1.0,
    labels: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Latent distances of both branches (paper Eqs. 3 to 7; mean over elements as in the release).

    L_v = MSE(z_v^l, z_g) + w MSE(z_v^u, sg[z_r^u]) and L_r likewise: each branch's gradient equals that of the paper's
    symmetric Eq. 6.

    Cells of z_g that hold ignored pixels are left out of the supervised terms. The label image shows background at
    these pixels; other cells know of it only as far as the first stage's encoder looks beyond a cell.

    Args:
        image_latent: z_v, [B_l + B_u, C, h, w], labelled rows first.
        mask_latent: z_r of the same shape.
        target: z_g, latent of the label image, [B_l, C, h, w].
        weight: w, weight of the unlabelled rows.
        supervised_weight: weight of the labelled rows; 0 leaves their loss out, for ablations.
        labels: the labels of which `target` is the latent, [B_l, 1, H, W]; None if they have no ignored pixel.

    Returns:
        L_v + L_r and its terms.
    """
    labelled = len(target)
    z_v, z_r, z_g = image_latent.float(), mask_latent.float(), target.float()
    cells = torch.tensor(True) if labels is None else decided_cells(labels, z_g.shape[-2:])
    terms = {
        "supervised_image_branch": mean_loss(mse_loss, z_v[:labelled], z_g, cells),
        "supervised_mask_branch": mean_loss(mse_loss, z_r[:labelled], z_g, cells),
    }
    loss = supervised_weight * (terms["supervised_image_branch"] + terms["supervised_mask_branch"])
    if len(z_v) > labelled:
        terms["consistency_image_branch"] = mse_loss(z_v[labelled:], z_r[labelled:].detach())
        terms["consistency_mask_branch"] = mse_loss(z_r[labelled:], z_v[labelled:].detach())
        loss = loss + weight * (terms["consistency_image_branch"] + terms["consistency_mask_branch"])
    return loss, terms


class AlignmentTrainer(SupervisedTrainer):
    """Trains the latent mapper and the trainable encoder on latent distances alone; no adapter, no decoder.

    Args:
        optimizer: optimiser of the latent mapper.
        encoder_optimizer: optimiser of the trainable encoder.
        consistency_weight: weight of the unlabelled rows over time.
        supervised_weight: weight of the labelled rows; 0 leaves their loss out, for ablations.
        amp: bfloat16 autocast; the losses stay in float32.
        channels_last: keep images and network in channels-last memory order.
        kwargs: arguments of MONAI's `SupervisedTrainer`; batches are those of `PairedLoader`.
    """

    def __init__(
        self,
        *,
        optimizer: Optimizer,
        encoder_optimizer: Optimizer,
        consistency_weight: ConsistencyWeight,
        supervised_weight: float = 1.0,
        amp: bool = False,
        channels_last: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(optimizer=optimizer, loss_function=alignment_losses, decollate=False, **kwargs)
        self.optimizers = {"latent_mapper": optimizer, "trainable_encoder": encoder_optimizer}
        self.consistency_weight = consistency_weight
        self.supervised_weight = supervised_weight
        self.autocast = amp
        self.channels_last = channels_last

    def _iteration(self, engine: AlignmentTrainer, batchdata: dict) -> dict:
        """One step on {"labelled": {"image", "label"}, "unlabelled": {"image"}}."""
        state = engine.state
        images, labels = stack_images(batchdata, state.device, engine.channels_last)
        weight = engine.consistency_weight(state.iteration - 1, state.epoch_length, state.max_epochs)
        engine.network.train()
        for optimizer in engine.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast(state.device.type, torch.bfloat16, enabled=engine.autocast):
            target = engine.network.encode_labels(labels)
            latents = engine.network.encode_images(images)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        loss, terms = alignment_losses(
            latents.image_branch, latents.mask_branch, target, weight, engine.supervised_weight, labels
        )
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        loss.backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        for optimizer in engine.optimizers.values():
            optimizer.step()
        return fire_iteration_events(engine, loss, terms, weight)


class AlignmentEvaluator(SupervisedEvaluator):
    """Mean squared latent distance of both branches to the label's latent: the criterion that selects the stage's best.

    Cells with ignored pixels are left out, as in training.

    Args:
        label_codec: the codec of the validation target; None for the network's own. The released code encodes
            validation labels in [-1, 1] though it trains on [0, 1].
        kwargs: arguments of MONAI's `SupervisedEvaluator`.
    """

    def __init__(self, *, label_codec: LabelCodec | None = None, **kwargs: Any) -> None:
        super().__init__(decollate=False, **kwargs)
        self.label_codec = label_codec

    @torch.no_grad()
    def _iteration(self, engine: AlignmentEvaluator, batchdata: dict) -> dict:
        """Distances of one batch {"image", "label"}, under "image_branch", "mask_branch" and "distance" (their sum)."""
        device, network = engine.state.device, engine.network.eval()
        codec = engine.label_codec or network.label_codec
        labels = batchdata["label"].to(device)
        target = network.first_stage.encode(codec.encode(labels)).mean
        cells = decided_cells(labels, target.shape[-2:])
        latents = network.encode_images(batchdata["image"].to(device))
        distances = {
            "image_branch": mean_loss(mse_loss, latents.image_branch, target, cells).item(),
            "mask_branch": mean_loss(mse_loss, latents.mask_branch, target, cells).item(),
        }
        engine.state.output = distances | {"distance": sum(distances.values())}
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output
