"""Small pictures and masks to draw with."""

from __future__ import annotations

import numpy as np
from PIL import Image

RED = (255, 0, 0)


def left_half(width: int = 40, height: int = 20) -> np.ndarray:
    """1 in the left half of the picture, [W, H]."""
    mask = np.zeros((width, height), np.float32)
    mask[: width // 2] = 1
    return mask


def contains(picture: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(picture) == colour).all(axis=2).any())


def black(size: tuple[int, int] = (80, 40)) -> Image.Image:
    return Image.new("RGB", size)
