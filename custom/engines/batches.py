"""What every semi-supervised trainer does with its batch and its result."""

from __future__ import annotations

import math

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from torch import Tensor

from custom.errors import InputError

__all__ = ["fire_iteration_events", "stack_images"]


def stack_images(
    batch: dict, device: torch.device, channels_last: bool = False, key: str = "image"
) -> tuple[Tensor, Tensor]:
    """Images of a `PairedLoader` batch, labelled rows first, [B_l + B_u, 3, H, W], and the labels [B_l, 1, H, W]."""
    parts = [batch[part][key].to(device) for part in ("labelled", "unlabelled") if part in batch]
    images = torch.cat(parts)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return images, batch["labelled"]["label"].to(device)


def fire_iteration_events(engine: SupervisedTrainer, loss: Tensor, terms: dict[str, Tensor], weight: float) -> dict:
    """Close an iteration: put the loss and its terms into the engine's output and fire MONAI's last event.

    Raises:
        InputError: the loss is no longer a finite number.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise InputError(
            f"the loss became {value} at iteration {engine.state.iteration}: lower the learning rate, "
            "or look for broken images in the data"
        )
    output = {"loss": value, "consistency_weight": weight}
    output |= {name: term.detach() if isinstance(term, Tensor) else term for name, term in terms.items()}
    engine.state.output = output
    engine.fire_event(IterationEvents.MODEL_COMPLETED)
    return output
