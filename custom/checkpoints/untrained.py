"""The note beside a model file while its trainable weights are random."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["UNTRAINED", "is_trained", "mark_as_untrained"]

UNTRAINED = "UNTRAINED.txt"
"""Name of the note beside a model file whose trainable weights are random."""


def is_trained(model: str | os.PathLike) -> bool:
    """Whether a bundle's model file is there and holds a trained network: no note beside it marks it as untrained."""
    return Path(model).is_file() and not Path(model).with_name(UNTRAINED).exists()


def mark_as_untrained(model: str | os.PathLike) -> None:
    """Note beside the model file that its trainable weights are random; the first training takes the note away."""
    Path(model).with_name(UNTRAINED).write_text(
        "model.pt holds a first stage and random weights; it has not been trained.\n"
    )
