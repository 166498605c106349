"""How much the branches of a network differ on one image."""

from __future__ import annotations

from torch import Tensor

__all__ = ["disputed_share"]

_SMALLEST_AREA = 0.01  # share of the picture; without it a few pixels of noise on an empty picture count as a dispute


def disputed_share(difference: Tensor, probability: Tensor) -> float:
    """The disputed share of what the branches mark, from 0 (they agree) to nearly 1 (they mark different things).

    It is 1 minus the soft Jaccard index of two branches, with the area in the denominator never below 1 % of the
    picture. The size of an object does not count, as it would in the mean difference over all pixels.

    MONAI Label's strategy `disagreement` ranks images by it. Two other measures of the same branches: the map
    "disagreement" of inference is their difference at each pixel (`SplitBranchesd`), and the column `differing_share`
    of an evaluation is the share of pixels that get two different classes (`score_image`).

    Args:
        difference: absolute difference of the branches at each pixel, in [0, 1].
        probability: mean of the branches, in [0, 1], of the same shape.
    """
    marked = (probability + difference / 2).sum().item()  # the larger of the two, summed
    return difference.sum().item() / max(marked, _SMALLEST_AREA * difference.numel())
