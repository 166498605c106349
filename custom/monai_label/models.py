"""The model which a server uses and trains: `models/model.pt` of a bundle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ignite.utils import manual_seed

from custom.checkpoints.untrained import UNTRAINED, is_trained
from custom.networks import SemiGDA, save_model

__all__ = ["ModelPublisher", "reset_weights", "is_trained"]


def reset_weights(network: SemiGDA, seed: int) -> None:
    """Give all trainable weights new random values, in place; the first stage stays.

    Args:
        network: the network.
        seed: decides the values.
    """
    manual_seed(seed)
    network.load_trainable_state_dict(SemiGDA.from_architecture(network.architecture).trainable_state_dict())


class ModelPublisher:
    """Saves a trained network in its run's folder and then puts it in the place where the server looks.

    The server's model is the old one or the whole new one at any moment. Earlier models stay in the folders of their
    runs.

    Args:
        model: the server's model file.
    """

    def __init__(self, model: str | os.PathLike) -> None:
        self.model = Path(model)

    def __call__(self, network: SemiGDA, folder: Path, details: dict[str, Any]) -> None:
        """Save `network` as `model.pt` of `folder` and as the server's model; `details` as for `save_model`."""
        save_model(network, folder / "model.pt", details)
        save_model(network, self.model, details)
        self.model.with_name(UNTRAINED).unlink(missing_ok=True)
