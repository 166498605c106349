"""Stage 0, for images far from photographs or machines without a network: train a first stage of one's own."""

from __future__ import annotations

from typing import Any

import torch
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from custom.engines.batches import fire_iteration_events, stack_images
from custom.labels import LabelCodec
from custom.labels.ignored import decided, mean_loss

__all__ = ["AutoencoderEvaluator", "AutoencoderTrainer"]


class AutoencoderTrainer(SupervisedTrainer):
    """Trains a diffusers `AutoencoderKL` on images and label images: L1 reconstruction plus a small KL term.

    Ignored pixels of label images are left out of the reconstruction loss; the encoder sees background there.
    This is not part of SemiGDA, which takes Stable Diffusion's autoencoder; results with such a first stage say so.

    Args:
        num_classes: K, with the background.
        kl_weight: weight of the KL divergence from the unit Gaussian, summed over a latent and divided by its number of
            elements.
        amp: bfloat16 autocast.
        kwargs: arguments of MONAI's `SupervisedTrainer`; batches are those of `PairedLoader`.
    """

    def __init__(self, *, num_classes: int = 2, kl_weight: float = 1e-4, amp: bool = False, **kwargs: Any) -> None:
        super().__init__(loss_function=l1_loss, decollate=False, **kwargs)
        self.label_codec = LabelCodec(num_classes)
        self.kl_weight = kl_weight
        self.autocast = amp

    def _iteration(self, engine: AutoencoderTrainer, batchdata: dict) -> dict:
        """One step on the images, labelled and unlabelled, and the label images of a batch."""
        images, labels = stack_images(batchdata, engine.state.device)
        inputs = torch.cat([2 * images - 1, engine.label_codec.encode(labels)])
        counted = decided(torch.cat([torch.zeros_like(images[:, :1]), labels]))
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=engine.autocast):
            posterior = engine.network.encode(inputs).latent_dist
            reconstruction = engine.network.decode(posterior.sample()).sample
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        terms = {
            "reconstruction": mean_loss(l1_loss, reconstruction.float(), inputs, counted),
            "kl": posterior.kl().mean() / posterior.mean[0].numel(),
        }
        loss = terms["reconstruction"] + engine.kl_weight * terms["kl"]
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        loss.backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        engine.optimizer.step()
        return fire_iteration_events(engine, loss, terms, 0.0)


class AutoencoderEvaluator(SupervisedEvaluator):
    """Reconstruction error of images and label images, and the share of labels that the autoencoder changes."""

    def __init__(self, *, num_classes: int = 2, **kwargs: Any) -> None:
        super().__init__(decollate=False, **kwargs)
        self.label_codec = LabelCodec(num_classes)

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
        painted = reconstruct(label_images)
        known = decided(labels)
        wrong = known & (engine.label_codec.harden(engine.label_codec.decode(painted)) != labels)
        engine.state.output = {
            "psnr": (-10 * torch.log10(image_error)).item(),
            "label_error": (wrong.sum() / known.sum().clamp(min=1)).item(),
            "error": (4 * image_error + mean_loss(mse_loss, painted, label_images, known)).item(),
        }
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output
