"""Gradient-aware losses, GADice and GACE: rare and hard classes keep a gradient (Qi, Wu and Chan, ECCV 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from custom.errors import InputError
from custom.labels.ignored import decided

__all__ = ["GradientAwareLoss", "gradient_aware_cross_entropy", "gradient_aware_dice"]

SMOOTHING = 1e-10


def gradient_aware_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """GADice: the Dice loss, and where a class is absent a loss whose gradient does not vanish; a scalar.

    The sums go over the N decided pixels n of the whole batch, p is the softmax and y the one-hot label. Of a class c

        in the labels:     1 - (2 sum_n p y + 1e-10) / (sum_n p^2 + sum_n y^2 + 1e-10)
        not in the labels: sum_n sg[p] p / N, with the gradient p / N, where the Dice loss would be 1 almost without one

    and the loss is the mean over all K classes, the background too. Source: the released code.

    >>> import torch
    >>> from custom.losses import gradient_aware_dice
    >>> loss = gradient_aware_dice(torch.zeros(1, 2, 1, 2), torch.zeros(1, 1, 1, 2))
    >>> round(loss.item(), 4)  # (1 - 2 / 2.5 + 1 / 4) / 2
    0.225

    Args:
        logits: [B, K, H, W].
        labels: class indices or `IGNORED_LABEL`, [B, 1, H, W]; the loss is 0 if none is decided.
    """
    pixels, classes = _decided_pixels(logits, labels)
    if not len(pixels):
        return 0 * logits.sum()
    probabilities, truth = pixels.softmax(dim=1), one_hot(classes, logits.shape[1])
    areas, overlap = truth.sum(dim=0), (truth * probabilities).sum(dim=0)
    dice = 1 - (2 * overlap + SMOOTHING) / (probabilities.square().sum(dim=0) + areas + SMOOTHING)
    absent = (probabilities.detach() * probabilities).mean(dim=0)
    return torch.where(areas > 0, dice, absent).mean()


def gradient_aware_cross_entropy(
    logits: Tensor, labels: Tensor, hardest: float = 100.0, class_exponent: float = 0.5
) -> Tensor:
    """GACE: cross-entropy of the hardest pixels, each class divided by about how often it is among them; a scalar.

    Of the N decided pixels of the batch the N_k = floor(N hardest / 100) with the largest cross-entropy are kept, at
    least one. With n_c of them of class c, and g for `class_exponent`,

        GACE = sum_c sum_{n of class c} CE_n / (n_c^(1 - g) N_k^g + 1e-10)

    It is a sum over the classes, so K equally frequent ones give sqrt(K) times the mean for g = 1/2. With g = 1 it is
    the mean of the kept pixels, with g = 0 every class counts the same. Source: the released code.

    >>> import torch
    >>> from custom.losses import gradient_aware_cross_entropy
    >>> loss = gradient_aware_cross_entropy(torch.zeros(1, 2, 1, 2), torch.tensor([[[[0.0, 1.0]]]]))
    >>> round(loss.item(), 4)  # sqrt(2) ln(2)
    0.9803

    Args:
        logits: [B, K, H, W].
        labels: class indices or `IGNORED_LABEL`, [B, 1, H, W]; the loss is 0 if none is decided.
        hardest: k, the percentage of pixels that are kept, above 0 to 100.
        class_exponent: gamma, in [0, 1].
    """
    pixels, classes = _decided_pixels(logits, labels)
    if not len(pixels):
        return 0 * logits.sum()
    each = cross_entropy(pixels, classes, reduction="none")
    kept = max(1, int(len(each) * hardest / 100))
    if kept < len(each):
        each, places = each.topk(kept, sorted=False)
        classes = classes[places]
    counts = torch.bincount(classes, minlength=logits.shape[1]).to(each.dtype)
    sizes = counts ** (1 - class_exponent) * kept**class_exponent + SMOOTHING
    return (each / sizes[classes]).sum()


def _decided_pixels(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [N, K] and classes [N] of the decided pixels, of [B, K, H, W] and [B, 1, H, W]."""
    pixels, classes = logits.movedim(1, -1).flatten(0, -2), labels.flatten()
    known = decided(classes)
    if not known.all():
        pixels, classes = pixels[known], classes[known]
    return pixels, classes.long()


class GradientAwareLoss(nn.Module):
    """dice_weight GADice + cross_entropy_weight GACE, of logits [B, K, H, W] and class indices [B, 1, H, W].

    >>> import torch
    >>> from custom.losses import GradientAwareLoss
    >>> loss = GradientAwareLoss(hardest=100)(torch.zeros(1, 2, 1, 2), torch.tensor([[[[0.0, 1.0]]]]))
    >>> round(loss.item(), 4)  # (sqrt(2) ln(2) + 1 / 3) / 2
    0.6568

    Args:
        hardest: see `gradient_aware_cross_entropy`; 10 for labels in the released code.
        class_exponent: likewise.
        dice_weight: weight of the Dice loss.
        cross_entropy_weight: weight of the cross-entropy.

    Raises:
        InputError: `hardest` or `class_exponent` is out of range.
    """

    def __init__(
        self,
        hardest: float = 10.0,
        class_exponent: float = 0.5,
        dice_weight: float = 0.5,
        cross_entropy_weight: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 < hardest <= 100:
            raise InputError(f"hardest {hardest}: give a percentage of pixels, above 0 to 100")
        if not 0 <= class_exponent <= 1:
            raise InputError(f"class_exponent {class_exponent}: give a number from 0 to 1")
        self.hardest = hardest
        self.class_exponent = class_exponent
        self.dice_weight = dice_weight
        self.cross_entropy_weight = cross_entropy_weight

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits [B, K, H, W] and class indices or `IGNORED_LABEL` [B, 1, H, W] -> a scalar."""
        cross = gradient_aware_cross_entropy(logits, labels, self.hardest, self.class_exponent)
        return self.dice_weight * gradient_aware_dice(logits, labels) + self.cross_entropy_weight * cross
