"""Dice loss on soft labels."""

from __future__ import annotations

from monai.losses import DiceLoss
from monai.networks import one_hot
from torch import Tensor, nn

from custom.labels.codec import LabelCodec
from custom.labels.ignored import clear_ignored

__all__ = ["SoftLabelDiceLoss"]


class SoftLabelDiceLoss(nn.Module):
    """Dice of the foreground memberships, without sigmoid and by default without squares (released code).

    For every sample and foreground class 1 - (2 sum(p g) + 1e-5) / (sum p + sum g + 1e-5), then the mean. With K = 2
    the membership is the soft label itself. An empty target gives practically no gradient, as in the release. Pixels
    whose target is `IGNORED_LABEL` are in no sum.

    >>> import torch
    >>> from custom.losses import SoftLabelDiceLoss
    >>> target = torch.tensor([2.0, 0.0, 1.0, 2.0]).reshape(1, 1, 2, 2)
    >>> SoftLabelDiceLoss(num_classes=3)(target, target).item()
    0.0

    Args:
        num_classes: K, with the background.
        squared: squares in the denominator. Of a soft target g the loss is then smallest at p = g; without squares it
            is smallest at a hard p, which may be larger than a faint g.
    """

    def __init__(self, num_classes: int = 2, squared: bool = False) -> None:
        super().__init__()
        self.codec = LabelCodec(num_classes)
        self.dice = DiceLoss(include_background=True, squared_pred=squared, smooth_nr=1e-5, smooth_dr=1e-5)

    def forward(self, soft_labels: Tensor, target: Tensor) -> Tensor:
        """Soft labels and target, hard or soft -> a scalar.

        Each is [B, 1, H, W] in [0, K - 1], or memberships [B, K, H, W]. A target of memberships has no ignored pixel.
        """
        foreground = self._foreground(soft_labels)
        if target.shape[1] == 1:
            foreground = clear_ignored(foreground, target)
        return self.dice(foreground, self._foreground(clear_ignored(target, target)))

    def _foreground(self, labels: Tensor) -> Tensor:
        if self.codec.num_classes == 2 and labels.shape[1] == 1:
            return labels
        if labels.shape[1] == 1 and not labels.requires_grad and bool((labels == labels.round()).all()):
            return one_hot(labels, self.codec.num_classes)[:, 1:]
        return self.codec.memberships(labels)[:, 1:]
