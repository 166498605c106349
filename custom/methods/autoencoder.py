"""Training of a first stage, for images unlike photographs or machines without internet access."""

from __future__ import annotations

import operator
from typing import Any

import torch
from ignite.metrics import Average
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from custom.labels import LabelCodec, make_label_codec, most_likely
from custom.labels.ignored import decided, mean_loss
from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["AutoencoderEvaluator", "AutoencoderTrainer"]


class AutoencoderTrainer(MethodTrainer):
    """Trains a diffusers `AutoencoderKL` on images and label images: L1 reconstruction plus a small KL term.

    Ignored pixels of label images are left out of the reconstruction loss; the encoder sees background there.
    This is not part of SemiGDA, which takes Stable Diffusion's autoencoder; reports name the first stage.

    Args:
        num_classes: K, with the background.
        kl_weight: weight of the KL divergence from the unit Gaussian, summed over a latent and divided by its number of
            elements.
        label_code: code of the label images, see `make_label_codec`.
        kwargs: see `MethodTrainer`.
    """

    def __init__(
        self, *, num_classes: int = 2, kl_weight: float = 1e-4, label_code: str = "ordinal", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.label_codec = make_label_codec(label_code, num_classes).to(self.state.device)
        self.kl_weight = kl_weight

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`; on all images, labelled or not, and the label images of the batch."""
        inputs = torch.cat([2 * batch.images - 1, self.label_codec.encode(batch.labels)])
        counted = decided(torch.cat([torch.zeros_like(batch.images[:, :1]), batch.labels]))
        with self.autocast():
            posterior = self.network.encode(inputs).latent_dist
            reconstruction = self.network.decode(posterior.sample()).sample
        terms = {
            "reconstruction": mean_loss(l1_loss, reconstruction.float(), inputs, counted),
            "kl": posterior.kl().mean() / posterior.mean[0].numel(),
        }
        return terms["reconstruction"] + self.kl_weight * terms["kl"], terms


class AutoencoderEvaluator(SupervisedEvaluator):
    """Reconstruction error of images and label images, and the share of labels that the autoencoder changes.

    Args:
        num_classes: K, with the background.
        label_code: code of the label images, see `make_label_codec`.
        kwargs: arguments of MONAI's `SupervisedEvaluator`.
    """

    def __init__(self, *, num_classes: int = 2, label_code: str = "ordinal", **kwargs: Any) -> None:
        metrics = {
            "key_val_metric": {"error": Average(operator.itemgetter("error"))},
            "additional_metrics": {name: Average(operator.itemgetter(name)) for name in ("psnr", "label_error")},
        }
        super().__init__(decollate=False, metric_cmp_fn=operator.lt, **{**metrics, **kwargs})
        self.label_codec = make_label_codec(label_code, num_classes).to(self.state.device)

    @torch.no_grad()
    def _iteration(self, engine: AutoencoderEvaluator, batchdata: dict) -> dict:
        """Output "psnr" of images (range 1) in dB, "label_error" (share of wrong pixels) and "error" (mean squared).

        Ignored pixels of labels are in neither of them.
        """
        network, device = engine.network.eval(), engine.state.device
        images, labels = batchdata["image"].to(device), batchdata["label"].to(device)

        def reconstruct(inputs: Tensor) -> Tensor:
            return network.decode(network.encode(inputs).latent_dist.mode()).sample

        image_error = mse_loss(((reconstruct(2 * images - 1) + 1) / 2).clamp(0, 1), images)
        label_images = engine.label_codec.encode(labels)
        decoded = reconstruct(label_images)
        known = decided(labels)
        wrong = known & (LabelCodec.harden(most_likely(engine.label_codec.decode(decoded))) != labels)
        engine.state.output = {
            "psnr": (-10 * torch.log10(image_error)).item(),
            "label_error": (wrong.sum() / known.sum().clamp(min=1)).item(),
            "error": (4 * image_error + mean_loss(mse_loss, decoded, label_images, known)).item(),
        }
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output
