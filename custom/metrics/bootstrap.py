"""Bootstrap confidence intervals of a mean over images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap

__all__ = ["bootstrap_interval", "paired_bootstrap_interval"]

_DRAWS_AT_ONCE = 1_000_000  # all resamples of a large test set would fill hundreds of megabytes


def bootstrap_interval(
    values: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of `values` (Efron, 1979).

    It shows how much the mean would change with another draw of test images, not with another training seed.

    Args:
        values: one number per image, in any order (it has no influence); nan is ignored.
        confidence: coverage in (0, 1).
        resamples: how many times the images are drawn with replacement.
        seed: seed of the draws; the same seed gives the same interval.

    Returns:
        (low, high) in the unit of `values`; (nan, nan) without any value.

    Raises:
        ValueError: when `confidence` is not in (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}.")
    values = np.sort(np.asarray(values, dtype=np.float64).ravel())
    values = values[~np.isnan(values)]
    if values.size == 0:
        return float("nan"), float("nan")
    if values.size == 1:
        return float(values[0]), float(values[0])
    distribution = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _DRAWS_AT_ONCE // values.size),
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).bootstrap_distribution
    # SciPy's own bounds differ from these in the last bit, and so from the intervals of reports that exist.
    low, high = np.quantile(distribution, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def paired_bootstrap_interval(
    a: ArrayLike, b: ArrayLike, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The bootstrap interval of mean(a) - mean(b) for two methods scored on the same images.

    Drawing images (pairs) rather than scores removes what makes an image hard for both methods, so the interval is
    much narrower than a comparison of two separate intervals suggests. It excludes 0 when the difference is larger
    than the choice of test images explains.

    Args:
        a: one number per image.
        b: one number per image, in the same order; a pair with a nan on either side is ignored.
        confidence: see `bootstrap_interval`.
        resamples: see `bootstrap_interval`.
        seed: see `bootstrap_interval`.

    Returns:
        (low, high) of the difference.

    Raises:
        ValueError: when the lengths differ.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"a and b must score the same images, got shapes {a.shape} and {b.shape}.")
    return bootstrap_interval(a - b, confidence, resamples, seed)
