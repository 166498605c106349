"""GA-MagicNet: MagicNet with the gradient-aware losses GADice and GACE (Qi, Wu and Chan, ECCV 2024)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from custom.losses.gradient_aware import GradientAwareLoss, gradient_aware_dice
from custom.methods.magicnet import MagicNet

__all__ = ["GradientAwareMagicNet"]


class GradientAwareMagicNet(MagicNet):
    """`MagicNet` with GACE_10 for the cross-entropy of labels and GADice for every Dice, pseudo-labels' too.

    The index is the percentage of pixels that is kept, see `custom.losses.GradientAwareLoss`.

    Args:
        hardest: percentage of labelled pixels that GACE keeps.
        class_exponent: gamma of GACE.
        kwargs: see `MagicNet`.

    Raises:
        InputError: `hardest` or `class_exponent` is out of range.
    """

    def __init__(self, *, hardest: float = 10.0, class_exponent: float = 0.5, **kwargs: Any) -> None:
        self._gradient_aware = GradientAwareLoss(hardest, class_exponent)
        super().__init__(**kwargs)

    def default_loss(self) -> nn.Module:
        """(GACE_10 + GADice) / 2."""
        return self._gradient_aware

    def default_dice(self) -> Callable[[Tensor, Tensor], Tensor]:
        """GADice."""
        return gradient_aware_dice
