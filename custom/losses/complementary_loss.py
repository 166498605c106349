"""Negative learning: the strong view must not predict the class that is least likely in the weak view."""

from __future__ import annotations

import math

from torch import Tensor
from torch.distributions import Categorical
from torch.nn.functional import cross_entropy

__all__ = ["complementary_loss"]


def complementary_loss(strong_logits: Tensor, weak_logits: Tensor) -> tuple[Tensor, Tensor]:
    """The complementary loss `comp` and its factor `a`, as SSL4MIS' FixMatch and DiffRect compute them.

    comp = a CE(1 - p_strong, argmin p_weak): the cross-entropy takes 1 - p_strong as logits, and the least probable
    class of the weak view as target.

    a = 1 - mean(entropy) / ln(H W): the probabilities of one class in one image are normalised over the image's pixels;
    the entropy of this distribution is averaged over classes and images. So a is 0 for a prediction that is
    the same everywhere, and grows with the concentration of the classes in few pixels. Gradients flow through a, as in
    the released code, which adds a * comp (so a^2) to its loss and takes all rows of the batch, labelled ones too.

    >>> import torch
    >>> from custom.losses import complementary_loss
    >>> loss, factor = complementary_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))
    >>> round(factor.item(), 4)  # the same prediction everywhere
    0.0

    Args:
        strong_logits: [B, K, H, W] of the strong view.
        weak_logits: the same of the weak view, which gets no gradient.

    Returns:
        comp and a, scalars.
    """
    strong = strong_logits.log_softmax(dim=1)
    pixels = strong.flatten(start_dim=2)
    # From logarithms, which stay finite where a class has probability 0 in the whole image.
    entropy = Categorical(logits=pixels, validate_args=False).entropy()
    factor = 1 - entropy.mean() / math.log(pixels.shape[-1])
    least_likely = weak_logits.detach().argmin(dim=1)
    return factor * cross_entropy(1 - strong.exp(), least_likely), factor
