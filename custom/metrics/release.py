"""The figures which the released SemiGDA test script prints, for comparison with the published tables.

The script's "95HD" hands whole masks to a function that expects a list of points, so every row of the picture becomes
one point in a space of W dimensions. The outcome is neither in pixels nor a 95th percentile, and does not depend on the
order of the rows: a mask shifted down gets the best value, 0. Report it only beside a true surface distance
(`custom.metrics.hausdorff`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike

__all__ = ["release_scores", "row_hausdorff"]


def row_hausdorff(prediction: np.ndarray, truth: np.ndarray) -> float:
    """0.95 * the Hausdorff distance between two masks read as sets of pixel rows (the released "95HD").

    The Euclidean distance between two binary rows is the square root of the number of pixels in which they differ,
    so all pairs of rows take two matrix products.

    Args:
        prediction: bool [H, W].
        truth: bool [H, W].

    Returns:
        A value in [0, 0.95 * sqrt(W)], without a unit.
    """
    # float32 counts exactly up to 2**24 pixels per row, and unlike integers it multiplies fast.
    p, t = prediction.astype(np.float32), truth.astype(np.float32)
    differing = t @ (1 - p).T + (1 - t) @ p.T  # [row of truth, row of prediction]
    furthest = max(differing.min(axis=0).max(), differing.min(axis=1).max())
    return 0.95 * math.sqrt(furthest)


def release_scores(prediction: ArrayLike | torch.Tensor, truth: ArrayLike | torch.Tensor) -> dict[str, float]:
    """Dice, IoU and "95HD" of one binary mask as the released test script computes them.

    As in that script: 0.001 in the denominator of Dice, and 0 for all three figures when the prediction is empty
    (also when the truth is empty too, and although 0 is the best distance).

    Args:
        prediction: binary [H, W]; non-zero is foreground. Rows must be the rows of the picture, because the distance
            compares rows: transpose tensors in MONAI's [W, H] order first.
        truth: binary [H, W], same shape.

    Returns:
        {"dice": [0, 1), "iou": [0, 1], "row_hausdorff": [0, 0.95 * sqrt(W)]}.

    Raises:
        ValueError: when the arrays are not 2-D or their shapes differ.
    """
    prediction, truth = _as_mask(prediction), _as_mask(truth)
    if prediction.ndim != 2 or prediction.shape != truth.shape:
        raise ValueError(f"prediction and truth must both be [H, W], got {prediction.shape} and {truth.shape}.")
    if not prediction.any():
        return {"dice": 0.0, "iou": 0.0, "row_hausdorff": 0.0}
    intersection = np.count_nonzero(prediction & truth)
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    return {
        "dice": 2 * intersection / (total + 0.001),
        "iou": intersection / (total - intersection),
        "row_hausdorff": row_hausdorff(prediction, truth),
    }


def _as_mask(array: ArrayLike | torch.Tensor) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().numpy()
    return np.asarray(array) != 0
