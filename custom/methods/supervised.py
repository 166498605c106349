"""Supervised training on the labelled images alone, the baseline of all methods."""

from __future__ import annotations

from torch import Tensor

from custom.methods.trainer import Batch, MethodTrainer

__all__ = ["Supervised"]


class Supervised(MethodTrainer):
    """L = supervised loss of the labelled rows; unlabelled rows are not used."""

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        logits = self.forward(self.network, batch.images[: batch.labelled])
        supervised = self.loss_function(logits, batch.labels)
        return supervised, {"supervised": supervised}
