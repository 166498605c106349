"""Supervised training on the labelled images alone: what every semi-supervised method must beat."""

from __future__ import annotations

from torch import Tensor

from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["Supervised"]


class Supervised(MethodTrainer):
    """L = supervised loss of the labelled rows; unlabelled rows are not looked at."""

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        logits = self.forward(self.network, batch.images[: batch.labelled])
        supervised = self.loss_function(logits, batch.labels)
        return supervised, {"supervised": supervised}
