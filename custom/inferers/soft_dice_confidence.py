"""How sure a network is of its mask of a whole image."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["soft_dice_confidence"]


def soft_dice_confidence(foreground: ArrayLike) -> float:
    """Soft Dice of a prediction and the mask that is made of it, 0 to 1.

    With p_c the probabilities of a foreground class and m_c the mask of the pixels where it is the most probable of
    all classes, 2 sum(p_c m_c) / (sum(p_c) + sum(m_c)), the mean over the classes with a pixel in their mask; 0 without
    any. For one class it is the soft Dice confidence of Borges et al. (arXiv 2402.10665), whose ranking of images
    comes close to that by the Dice to be expected. The mean over classes is ours.

    >>> import numpy as np
    >>> from custom.inferers import soft_dice_confidence
    >>> soft_dice_confidence(np.array([[[1.0, 1.0, 0.0, 0.0]]]))
    1.0
    >>> soft_dice_confidence(np.array([[[0.75, 0.75, 0.25, 0.25]]]))  # 2 * 1.5 / (2 + 2)
    0.75

    Args:
        foreground: probabilities of all classes but the background, [K - 1, W, H].
    """
    foreground = np.asarray(foreground)
    probabilities = np.concatenate([1 - foreground.sum(axis=0, keepdims=True), foreground])
    classes = probabilities.argmax(axis=0)
    shares = []
    for index in range(1, len(probabilities)):
        mask = classes == index
        if mask.any():
            inside = probabilities[index][mask].sum(dtype=float)
            shares.append(2 * inside / (probabilities[index].sum(dtype=float) + mask.sum()))
    return float(np.mean(shares)) if shares else 0.0
