"""The order in which to ask for labels: where the model is in doubt, and nothing twice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["rank"]

_AT_ONCE = 500  # rows of a table of distances


def rank(
    disputed: NDArray[np.float64],
    features: NDArray[np.float64],
    seen: NDArray[np.float64],
    most: int | None = None,
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
        most: how many are ranked; None for all.

    Returns:
        (index of the candidate, its weight) from the first to be asked to the last.
    """
    count = len(disputed)
    everything = np.concatenate([features, seen.reshape(-1, features.shape[1])])
    scale = everything.std(axis=0)
    everything = everything / np.where(scale > 0, scale, 1)
    candidates = everything[:count]
    typical = float(np.median(_nearest(candidates))) if count > 1 else 0.0
    unit = typical if typical > 0 else 1.0
    nearest = _nearest(candidates, everything[count:])
    order = []
    left = np.ones(count, bool)
    for _ in range(count if most is None else min(most, count)):
        weights = np.where(left, disputed * np.minimum(nearest / unit, 1), -1)
        best = int(np.lexsort((disputed * left, weights))[-1])  # among equal weights the more disputed one
        order.append((best, float(weights[best])))
        left[best] = False
        nearest = np.minimum(nearest, np.linalg.norm(candidates - candidates[best], axis=1))
    return order


def _nearest(points: NDArray[np.float64], others: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Distance of each point to the nearest of the others, or of its fellows; infinite where there is none.

    Products of matrices find which one is nearest, 20 times as fast as differences do; its distance is then computed
    from the difference, for that of near copies is lost in the products.
    """
    among = points if others is None else others
    if not len(among):
        return np.full(len(points), np.inf)
    squares = np.einsum("nf,nf->n", among, among)
    found = np.empty(len(points))
    for start in range(0, len(points), _AT_ONCE):
        rows = points[start : start + _AT_ONCE]
        scores = squares - 2 * rows @ among.T  # squared distances, less the square of the point
        if others is None:
            scores[np.arange(len(rows)), np.arange(start, start + len(rows))] = np.inf
        found[start : start + len(rows)] = np.linalg.norm(rows - among[scores.argmin(axis=1)], axis=1)
    return found
