"""Hard pseudo-labels from soft ones: sharpening, a threshold, the largest component."""

from __future__ import annotations

import numpy as np
import torch
from skimage import measure
from torch import Tensor

from custom.labels.codec import LabelCodec

__all__ = ["PseudoLabels", "largest_components"]


class PseudoLabels:
    """Targets that one branch gives the other for unlabelled images (released function `get_cut_mask`).

    A pixel gets class k where membership^(1 / temperature) >= 0.5, which at temperature 0.1 means a membership of at
    least 0.93303; everything else is background. Then every class keeps its largest 8-connected component in each
    image (the first one found on a tie).

    >>> import torch
    >>> from custom.losses import PseudoLabels
    >>> soft = torch.tensor([0.95, 0.99, 0.5, 0.97]).reshape(1, 1, 1, 4)
    >>> PseudoLabels()(soft).flatten().tolist()  # the largest component alone
    [1.0, 1.0, 0.0, 0.0]

    Args:
        num_classes: K, with the background.
        temperature: sharpening temperature T.
        largest_component: keep only the largest component. False where a class has several objects per image.
    """

    def __init__(self, num_classes: int = 2, temperature: float = 0.1, largest_component: bool = True) -> None:
        self.codec = LabelCodec(num_classes)
        self.threshold = 0.5**temperature
        self.keep_largest = largest_components if largest_component else None

    @torch.no_grad()
    def __call__(self, soft_labels: Tensor) -> Tensor:
        """Soft labels, or memberships -> detached class indices [B, 1, H, W] of the same dtype.

        Soft labels are [B, 1, H, W] in [0, K - 1], memberships [B, K, H, W].
        """
        memberships = self.codec.memberships(soft_labels.detach())[:, 1:]
        confidence, index = memberships.max(dim=1, keepdim=True)
        labels = torch.where(confidence >= self.threshold, index + 1, 0)
        if self.keep_largest is not None:
            labels = self.keep_largest(labels)
        return labels.to(soft_labels)


def largest_components(labels: Tensor) -> Tensor:
    """Class indices [B, 1, H, W] with nothing but the largest 8-connected component of every class in each image.

    The first one found on a tie, where MONAI's transform keeps the last one; the rest becomes background. The result
    has the type and the device of `labels` and no gradient. The components are found on the CPU.
    """
    kept = np.stack([_largest_in_image(label) for label in labels[:, 0].detach().cpu().numpy()])
    return torch.from_numpy(kept)[:, None].to(labels)


def _largest_in_image(labels: np.ndarray) -> np.ndarray:
    kept = np.zeros_like(labels)
    for index in np.unique(labels[labels > 0]):
        components = measure.label(labels == index, connectivity=2)
        largest = np.bincount(components[components > 0]).argmax()
        kept[components == largest] = index
    return kept
