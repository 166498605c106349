"""Class weights from how difficult each class is to learn (DHC's DiffDW, GenericSSL)."""

from __future__ import annotations

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from custom.labels.ignored import decided

__all__ = ["DifficultyWeights"]

SMOOTHING = 1e-8


class DifficultyWeights(nn.Module):
    """Weights w [K], larger for classes whose Dice is low, falls, or rises slowly.

    An update compares hard predictions with labels. With the Dice D_c of class c over the batch, that of the update
    before D'_c (1e-8 at first), and the moving averages EMA of momentum 49/50,

        learn_c   = EMA(max(D_c - D'_c, 0) ln(D_c / D'_c))
        unlearn_c = EMA(min(D_c - D'_c, 0) ln(D_c / D'_c))
        error_c   = EMA(1 - D_c), 1 at first
        w_c = K s_c,  s_c = ((unlearn_c + 1e-8) / (learn_c + 1e-8))^(1/5) error_c

    and, if `normalised`, w_c = K s_c / max s. D = (2 I + 1e-8) / (P + Y + 2e-8) of the pixels predicted and labelled.

    A class that is neither in the labels nor in the predictions keeps its values. In the released codes it has D = 1/2
    then, which is rare in volumes and the rule in slices. The state is in buffers; several processes add their pixels.

    >>> import torch
    >>> from custom.losses import DifficultyWeights
    >>> logits = torch.tensor([[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]).reshape(1, 2, 1, 3)
    >>> weights = DifficultyWeights(2).update(logits, torch.tensor([0.0, 0.0, 1.0]).reshape(1, 1, 1, 3))
    >>> weights.argmax().item(), weights.max().item()  # no pixel of class 1 was found
    (1, 2.0)

    Args:
        num_classes: K, with the background.
        normalised: whether the largest weight is K, as in DHC; GenericSSL does not divide.
        updates: 50, over about how many updates the averages go: their momentum is 1 - 1 / updates.
    """

    def __init__(self, num_classes: int, normalised: bool = True, updates: int = 50) -> None:
        super().__init__()
        self.normalised = normalised
        self.momentum = 1 - 1 / updates
        self.register_buffer("dice", torch.full((num_classes,), SMOOTHING))
        self.register_buffer("learn", torch.zeros(num_classes))
        self.register_buffer("unlearn", torch.zeros(num_classes))
        self.register_buffer("error", torch.ones(num_classes))

    @torch.no_grad()
    def update(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Take in the predictions [B, K, H, W] for labels [B, 1, H, W]; the new weights [K].

        Ignored pixels do not count.
        """
        known = decided(labels[:, 0])
        predicted, classes = logits.argmax(dim=1)[known], labels[:, 0][known].long()
        parts = (classes[predicted == classes], predicted, classes)
        counts = torch.stack([torch.bincount(part, minlength=len(self.dice)) for part in parts]).float()
        common, of_predictions, of_labels = idist.all_reduce(counts)
        sizes = of_predictions + of_labels
        dice = (2 * common + SMOOTHING) / (sizes + 2 * SMOOTHING)
        change = dice - self.dice
        gain = (dice / self.dice).log()
        for average, value in (
            (self.learn, change.clamp_min(0) * gain),
            (self.unlearn, change.clamp_max(0) * gain),
            (self.error, 1 - dice),
        ):
            average.copy_(torch.where(sizes > 0, self.momentum * average + (1 - self.momentum) * value, average))
        self.dice.copy_(torch.where(sizes > 0, dice, self.dice))
        return self.weights()

    def weights(self) -> Tensor:
        """The weights [K] of the last update; K for each class before the first one."""
        difficulty = ((self.unlearn + SMOOTHING) / (self.learn + SMOOTHING)) ** 0.2 * self.error
        if self.normalised:
            difficulty = difficulty / difficulty.max().clamp_min(SMOOTHING)
        return len(difficulty) * difficulty
