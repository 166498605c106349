"""MC-Net: two decoders of one encoder learn each other's sharpened predictions (Wu et al., MICCAI 2021)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import mse_loss

from custom.methods.trainer import Batch, MethodTrainer, dice_and_cross_entropy

__all__ = ["MutualConsistency", "sharpen"]


def sharpen(probabilities: Tensor, temperature: float = 0.1) -> Tensor:
    """p^(1/T) / (p^(1/T) + (1 - p)^(1/T)) of each probability by itself, same shape."""
    power = 1 / temperature
    positive, negative = probabilities**power, (1 - probabilities) ** power
    return positive / (positive + negative)


class MutualConsistency(MethodTrainer):
    """L = sum_i L_sup(f_i) + lambda sum_{i != j} MSE(p_i, sharpen(p_j)) over all rows, labelled ones too.

    The decoders differ in their up-sampling; the first one predicts. As in the release the supervised loss is half the
    Dice loss alone, and gradients go through the sharpened prediction as well.

    Args:
        temperature: T of the sharpening.
        kwargs: see `MethodTrainer`; `network.all_logits` gives the logits of two or more decoders, and
            `loss_function` is half the Dice loss if None.
    """

    def __init__(self, *, temperature: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.temperature = temperature

    def default_loss(self) -> nn.Module:
        """Half the Dice loss."""
        return dice_and_cross_entropy(0.5, 0.0)

    def loss(self, batch: Batch, weight: float) -> tuple[Tensor, dict[str, Tensor]]:
        """See `MethodTrainer.loss`."""
        all_logits = self.forward(self.network, batch.images, method="all_logits")
        supervised = sum(self.loss_function(logits[: batch.labelled], batch.labels) for logits in all_logits)
        soft = [logits.softmax(dim=1) for logits in all_logits]
        sharp = [sharpen(probabilities, self.temperature) for probabilities in soft]
        pairs = [(i, j) for i in range(len(soft)) for j in range(len(soft)) if i != j]
        consistency = sum(mse_loss(soft[i], sharp[j]) for i, j in pairs)
        return supervised + weight * consistency, {"supervised": supervised, "consistency": consistency}
