"""Outlines of masks over pictures, smooth and visible on any background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw
from skimage.measure import find_contours

from custom.drawing.arrays import as_numpy
from custom.drawing.palette import TRUTH_COLOUR, Colour, class_colour

__all__ = ["draw_classes", "draw_contour", "draw_truth"]

_SUPERSAMPLING = 4  # contours are drawn this much larger and shrunk, which smooths their edges


def draw_contour(
    image_tile: Image.Image, mask: ArrayLike | torch.Tensor, colour: Colour, width: float = 1.6
) -> Image.Image:
    """The tile with the outline of a mask drawn over it, with a dark rim that keeps it visible on any background.

    Args:
        image_tile: a picture of the same scene, of any size (see `tile`).
        mask: [W, H]; non-zero is inside.
        colour: colour of the line.
        width: thickness of the line in pixels of the tile.
    """
    mask = as_numpy(mask) != 0
    lines = _outlines(mask, image_tile.size, inset=width / 2)
    picture = image_tile.convert("RGB")
    for line_width, line_colour, opacity in ((width + 1.6, (0, 0, 0), 0.55), (width, colour, 1.0)):
        stencil = _line_stencil(lines, picture.size, line_width).point(lambda level, share=opacity: level * share)
        picture.paste(line_colour, mask=stencil)
    return picture


def draw_classes(
    image_tile: Image.Image, labels: ArrayLike | torch.Tensor, num_classes: int, width: float = 1.6
) -> Image.Image:
    """The tile with the outline of every foreground class in the colour of the class.

    Args:
        image_tile: see `draw_contour`.
        labels: class indices [W, H]; other values, such as those of undecided pixels, have no outline.
        num_classes: K, with the background.
        width: see `draw_contour`.
    """
    labels = as_numpy(labels)
    for index in range(1, num_classes):
        image_tile = draw_contour(image_tile, labels == index, class_colour(index), width)
    return image_tile


def draw_truth(image_tile: Image.Image, labels: ArrayLike | torch.Tensor, num_classes: int) -> Image.Image:
    """The tile with the outlines of the truth: as `draw_classes`, but of two classes in a colour of its own."""
    if num_classes == 2:
        return draw_contour(image_tile, as_numpy(labels) == 1, TRUTH_COLOUR)
    return draw_classes(image_tile, labels, num_classes)


def _outlines(mask: np.ndarray, size: tuple[int, int], inset: float) -> list[np.ndarray]:
    """Closed outlines of a mask [W, H] as (x, y) points in pixels of a picture of `size`, kept `inset` off its edge."""
    scale = np.array(size) / mask.shape
    # The padding closes outlines at the image border; 1 undoes it, 0.5 moves from pixel centres to their corners.
    lines = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    return [((line - 1 + 0.5) * scale).clip(inset, np.array(size) - inset) for line in lines]


def _line_stencil(lines: Sequence[np.ndarray], size: tuple[int, int], width: float) -> Image.Image:
    """A grey stencil of `size` with the lines in white."""
    stencil = Image.new("L", (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING))
    pen = ImageDraw.Draw(stencil)
    for line in lines:
        points = [tuple(point) for point in line * _SUPERSAMPLING]
        pen.line(points, fill=255, width=round(width * _SUPERSAMPLING), joint="curve")
    return stencil.resize(size, Image.Resampling.BOX)
