"""Pseudo-labels of a softmax: the most probable class where it is confident, background elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["confident_pseudo_labels"]


@torch.no_grad()
def confident_pseudo_labels(logits: Tensor, threshold: float = 0.8) -> Tensor:
    """Class indices where the min-max normalised softmax is above a threshold, 0 elsewhere (SSL4MIS, DiffRect).

    In each pixel the probabilities p become n = (p - min p) / max p, over the classes; the most probable class is kept
    where its n is above the threshold. Other pixels become background, they are not left out. With two classes the
    default asks for a probability above 1 / 1.2 = 0.833. With more it is easier to pass: the most probable class must
    only be five times as probable as the least probable one.

    >>> import torch
    >>> from custom.losses import confident_pseudo_labels
    >>> logits = torch.tensor([[0.0, 0.0], [1.0, 3.0]]).reshape(1, 2, 1, 2)  # p = 0.73 and 0.95
    >>> confident_pseudo_labels(logits).flatten().tolist()
    [0.0, 1.0]

    Args:
        logits: [B, K, H, W].
        threshold: of n, in [0, 1].

    Returns:
        [B, 1, H, W], float, detached.
    """
    probabilities = logits.float().softmax(dim=1)
    largest, index = probabilities.max(dim=1, keepdim=True)
    smallest = probabilities.amin(dim=1, keepdim=True)
    confident = (largest - smallest) / largest > threshold
    return torch.where(confident, index, 0).float()
