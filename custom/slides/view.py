"""A slide at the scale that a network was trained for."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from custom.slides.reading import Slide
from custom.slides.resampling import bilinear, resample

__all__ = ["SlideView"]


class SlideView:
    """A slide resized, of which any region can be had.

    The level is the one nearest to the pixels of the training. Where it has much smaller ones, blocks of them are
    averaged first. The rest is interpolated, as training does with its images.

    Attributes:
        size: (width, height).

    Args:
        slide: the slide.
        size: (width, height) that it is resized to.
        shrinking: how many pixels of the slide a pixel of the training's images is wide.
        bgr: give the colours in the order blue, green, red.
    """

    def __init__(self, slide: Slide, size: tuple[int, int], shrinking: float = 1.0, bgr: bool = False) -> None:
        self.slide = slide
        self.size = size
        self.bgr = bgr
        self.level = slide.level_for(shrinking)
        level_size = slide.level_sizes[self.level]
        self.block = max(1, min(round(shrinking * level_size[0] / slide.size[0]), *level_size))
        self._count = tuple(length // self.block for length in level_size)
        self._step = tuple(length / self.block / own for length, own in zip(level_size, size, strict=True))

    def read(self, left: int, top: int, width: int, height: int) -> Tensor:
        """Colours [3, height, width] in [0, 1] of a region, which lies within `size`."""
        columns = bilinear(left, left + width, self._step[0], self._count[0])
        rows = bilinear(top, top + height, self._step[1], self._count[1])
        (first_column, last_column), (first_row, last_row) = columns.span, rows.span
        values = self.slide.read(
            self.level,
            first_column * self.block,
            first_row * self.block,
            (last_column - first_column) * self.block,
            (last_row - first_row) * self.block,
        )
        piece = torch.from_numpy(values).movedim(-1, 0).float() / 255
        piece = avg_pool2d(piece, self.block) if self.block > 1 else piece
        piece = piece.flip(0) if self.bgr else piece
        return resample(piece, first_row, first_column, rows, columns)
