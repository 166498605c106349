"""The order in which to ask for labels: where the model is in doubt, and nothing twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

__all__ = ["rank"]


def rank(
    disputed: NDArray[np.float64], features: NDArray[np.float64], seen: NDArray[np.float64]
) -> list[tuple[int, float]]:
    """Rank images greedily by their disputed share times novelty.

    Novelty is the distance to the nearest image that was labelled, asked for or ranked before, over the median
    distance between a candidate and the nearest other one, and at most 1. So near copies of such images come late,
    and images at the usual distance are ranked by their disputed share. Distances are Euclidean, with every feature
    divided by its standard deviation.

    Args:
        disputed: `custom.metrics.disputed_share` of each candidate, [N], 0 or more.
        features: of each candidate, [N, F].
        seen: features of the images labelled or asked for already, [M, F]; M may be 0.

    Returns:
        (index of the candidate, its weight) from the first to be asked to the last.
    """
    count = len(disputed)
    everything = np.concatenate([features, seen.reshape(-1, features.shape[1])])
    scale = everything.std(axis=0)
    everything = everything / np.where(scale > 0, scale, 1)
    candidates = everything[:count]
    distances = cdist(candidates, everything)
    between = distances[:, :count] + np.diag(np.full(count, np.inf))
    typical = np.median(between.min(axis=1)) if count > 1 else 0.0
    unit = typical if typical > 0 else 1.0
    nearest = distances[:, count:].min(axis=1, initial=np.inf)
    order = []
    left = np.ones(count, bool)
    for _ in range(count):
        weights = np.where(left, disputed * np.minimum(nearest / unit, 1), -1)
        best = int(np.lexsort((disputed * left, weights))[-1])  # among equal weights the more disputed one
        order.append((best, float(weights[best])))
        left[best] = False
        nearest = np.minimum(nearest, distances[:, best])
    return order
