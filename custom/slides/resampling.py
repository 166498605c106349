"""Resampling of a piece of a picture, as if the whole picture were resampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Taps", "bilinear", "nearest", "resample"]


@dataclass(frozen=True)
class Taps:
    """Which source pixels each pixel along an axis is made of: `low` and `high`, with the share `weight` of `high`.

    Attributes:
        low: indices of source pixels, rising.
        high: likewise, at most one larger.
        weight: in [0, 1).
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    weight: NDArray[np.float32]

    @property
    def span(self) -> tuple[int, int]:
        """First source pixel, and that after the last."""
        return int(self.low[0]), int(self.high[-1]) + 1


def bilinear(start: int, stop: int, step: float, count: int) -> Taps:
    """Pixels `start` to `stop` of an axis whose pixels are `step` of the `count` source pixels.

    As PyTorch interpolates with `align_corners=False`.

    >>> from custom.slides.resampling import bilinear
    >>> taps = bilinear(0, 3, 0.5, 2)
    >>> taps.low.tolist(), taps.high.tolist(), taps.weight.tolist()
    ([0, 0, 0], [1, 1, 1], [0.0, 0.25, 0.75])
    """
    place = ((np.arange(start, stop) + 0.5) * step - 0.5).clip(0, count - 1)
    low = np.floor(place).astype(np.int64)
    return Taps(low, np.minimum(low + 1, count - 1), (place - low).astype(np.float32))


def nearest(start: int, stop: int, step: float, count: int) -> Taps:
    """Likewise without blending, as PyTorch's mode "nearest" takes pixels."""
    low = np.floor(np.arange(start, stop) * step).astype(np.int64).clip(0, count - 1)
    return Taps(low, low, np.zeros(len(low), np.float32))


def resample(piece: Tensor, top: int, left: int, rows: Taps, columns: Taps) -> Tensor:
    """Pixels [C, rows, columns] of a picture of which only a piece [C, h, w] is there.

    Args:
        piece: floating-point values; it holds all source pixels of the taps.
        top: row of the picture that the piece begins with.
        left: likewise column.
        rows: taps of the rows.
        columns: taps of the columns.
    """
    return _along(_along(piece, 1, top, rows), 2, left, columns)


def _along(piece: Tensor, axis: int, start: int, taps: Taps) -> Tensor:
    low, high = (torch.from_numpy(index - start) for index in (taps.low, taps.high))
    values = piece.index_select(axis, low)
    if not taps.weight.any():
        return values
    weight = torch.from_numpy(taps.weight).reshape([-1 if dim == axis else 1 for dim in range(3)])
    return torch.lerp(values, piece.index_select(axis, high), weight)
