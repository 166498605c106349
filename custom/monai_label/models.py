"""The model which a server uses: `models/model.pt` of a bundle, and the note beside it while it is untrained."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ignite.utils import manual_seed

from custom.networks import SemiGDA, save_model

__all__ = ["UNTRAINED", "ModelPublisher", "forget_training", "is_trained", "mark_as_untrained"]

UNTRAINED = "UNTRAINED.txt"
"""Name of the note beside a model file whose trainable weights are random."""


def is_trained(model: str | os.PathLike) -> bool:
    """Whether a bundle's model file holds a trained network: it is there, and no note beside it says otherwise."""
    return Path(model).is_file() and not Path(model).with_name(UNTRAINED).exists()


def mark_as_untrained(model: str | os.PathLike) -> None:
    """Note beside the model file that its trainable weights are random; the first training takes the note away."""
    Path(model).with_name(UNTRAINED).write_text(
        "model.pt holds a first stage and random weights; it has not been trained.\n"
    )


def forget_training(network: SemiGDA, seed: int) -> None:
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
