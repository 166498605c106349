"""Colours of phantoms."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation


def colour_difference(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean colour inside the mask minus that of a ring round it."""
    inside = mask > 0
    ring = binary_dilation(inside, iterations=6) & ~binary_dilation(inside, iterations=1)
    return image[inside].mean(axis=0) - image[ring].mean(axis=0)
