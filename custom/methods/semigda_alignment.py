"""SemiGDA, stage 1: both branches learn the latent of the mask (dual alignment)."""

from __future__ import annotations

import operator
from typing import Any

import torch
from ignite.metrics import Average
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim import SGD, AdamW, Optimizer

from custom.labels import LabelCodec
from custom.labels.ignored import decided_cells, mean_loss
from custom.losses import ConsistencyWeight
from custom.methods.trainer import Batch, MethodTrainer
from custom.networks import SemiGDA
from custom.optimizers import PolynomialRestarts

__all__ = ["AlignmentEvaluator", "SemiGDAAlignment", "alignment_losses"]


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


class SemiGDAAlignment(MethodTrainer):
    """Trains the latent mapper and the trainable encoder on latent distances alone; no adapter, no decoder.

    Each has an optimiser of its own, with polynomial decay over the stage: by default those of the release, AdamW for
    the mapper and SGD with momentum for the encoder.

    Args:
        optimizer: optimiser of the latent mapper; None for AdamW.
        encoder_optimizer: optimiser of the trainable encoder; None for SGD.
        mapper_learning_rate: learning rate of the default optimiser of the mapper.
        encoder_learning_rate: learning rate of the default optimiser of the encoder.
        momentum: momentum of the default optimiser of the encoder.
        weight_decay: weight decay of the default optimiser of the encoder.
        consistency_weight: weight of the unlabelled rows over time; None for that of the release.
        supervised_weight: weight of the labelled rows; 0 leaves their loss out, for ablations.
        kwargs: see `MethodTrainer`; `network` is a `SemiGDA`.
    """

    def __init__(
        self,
        *,
        network: SemiGDA,
        max_epochs: int,
        train_data_loader: Any,
        optimizer: Optimizer | None = None,
        encoder_optimizer: Optimizer | None = None,
        mapper_learning_rate: float = 0.002,
        encoder_learning_rate: float = 0.01,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        consistency_weight: ConsistencyWeight | None = None,
        supervised_weight: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if optimizer is None:
            optimizer = AdamW(network.latent_mapper.parameters(), lr=mapper_learning_rate)
        if encoder_optimizer is None:
            settings = {"lr": encoder_learning_rate, "momentum": momentum, "weight_decay": weight_decay}
            encoder_optimizer = SGD(network.encoder_parameters(), **settings)
        super().__init__(
            network=network,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            optimizer=optimizer,
            consistency_weight=consistency_weight or ConsistencyWeight(),
            **kwargs,
        )
        self.supervised_weight = supervised_weight
        self.optimizers = {"latent_mapper": optimizer, "trainable_encoder": encoder_optimizer}
        for name, each in self.optimizers.items():
            self.follow(name, PolynomialRestarts(each, max_epochs * len(train_data_loader)))

    def step(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.step`."""
        with self.autocast():
            target = self.network.encode_labels(batch.labels)
            latents = self.network.encode_images(batch.images)
        loss, terms = alignment_losses(
            latents.image_branch, latents.mask_branch, target, weight, self.supervised_weight, batch.labels
        )
        self.update(loss, *self.optimizers.values())
        return loss, terms


class AlignmentEvaluator(SupervisedEvaluator):
    """Mean squared latent distance of both branches to the label's latent, which selects the best weights of the stage.

    Cells with ignored pixels are left out, as in training.

    Args:
        label_codec: the codec of the validation target; None for the network's own. The released code encodes
            validation labels in [-1, 1] though it trains on [0, 1].
        kwargs: arguments of MONAI's `SupervisedEvaluator`.
    """

    def __init__(self, *, label_codec: LabelCodec | None = None, **kwargs: Any) -> None:
        branches = {f"distance/{name}": Average(operator.itemgetter(name)) for name in ("image_branch", "mask_branch")}
        metrics = {
            "key_val_metric": {"distance": Average(operator.itemgetter("distance"))},
            "additional_metrics": branches,
        }
        super().__init__(decollate=False, metric_cmp_fn=operator.lt, **{**metrics, **kwargs})
        self.label_codec = label_codec

    @torch.no_grad()
    def _iteration(self, engine: AlignmentEvaluator, batchdata: dict) -> dict:
        """Distances of one batch {"image", "label"}, under "image_branch", "mask_branch" and "distance" (their sum)."""
        device, network = engine.state.device, engine.network.eval()
        labels = batchdata["label"].to(device)
        target = network.encode_labels(labels, engine.label_codec)
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
