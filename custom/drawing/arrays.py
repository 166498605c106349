"""Arrays of pictures and labels, in MONAI's spatial order, from numpy or torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from custom.labels.codec import LabelCodec

__all__ = ["as_labels", "as_numpy"]


def as_numpy(array: ArrayLike | torch.Tensor) -> np.ndarray:
    """The array on the CPU; a tensor becomes float32."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().float().numpy()
    return np.asarray(array)


def as_labels(values: ArrayLike | torch.Tensor) -> np.ndarray:
    """Labels or soft ordinal predictions, [W, H] or [1, W, H] in [0, K - 1] -> class indices, float32 [W, H]."""
    values = as_numpy(values)
    values = (values[0] if values.ndim == 3 else values).astype(np.float32)
    return LabelCodec.harden(torch.from_numpy(values)).numpy()
