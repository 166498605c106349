"""The intensity window: which value becomes black and which white."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom.errors import InputError
from custom.volumes.volume import Volume

__all__ = ["AUTO", "PERCENTILES", "Window", "check_window", "windowed"]

AUTO = "auto"
PERCENTILES = (0.5, 99.5)
"""Percentiles of a volume's values that "auto" makes black and white."""

Window = str | Sequence[float]


def check_window(window: Any, name: str = "window") -> str | tuple[float, float]:
    """`window` as "auto" or (low, high).

    Raises:
        InputError: it is neither, or low is not below high. The message names `name`.
    """
    if window is None or window == AUTO:
        return AUTO
    is_pair = isinstance(window, (list, tuple)) and len(window) == 2
    numbers = is_pair and all(
        isinstance(end, (int, float)) and not isinstance(end, bool) and math.isfinite(end) for end in window
    )
    if not numbers or not window[0] < window[1]:
        raise InputError(f'{name} is {window!r}; give "auto" or [low, high] in the units of the images, low first')
    return float(window[0]), float(window[1])


def windowed(volume: Volume, window: Window = AUTO) -> NDArray[np.uint8]:
    """The values of a volume as brightness from 0 to 255.

    "auto" takes percentiles of the volume, see `PERCENTILES`, or leaves 8-bit brightness as it is. A window does not
    change colours.

    Raises:
        InputError: see `check_window`.
    """
    window = check_window(window)
    if volume.is_colour:
        return volume.values.astype(np.uint8)
    if window == AUTO and volume.is_8_bits:
        brightness = volume.values.astype(np.uint8)
    else:
        low, high = np.percentile(volume.values, PERCENTILES) if window == AUTO else window
        scaled = (volume.values - np.float32(low)) / np.float32(max(high - low, 1e-6))
        brightness = np.rint(scaled.clip(0, 1) * 255).astype(np.uint8)
    return 255 - brightness if volume.white_is_zero else brightness
