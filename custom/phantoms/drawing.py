"""What the phantoms of all modalities are drawn with: smooth noise, dented outlines, supersampling, blending.

Fields are [side, side] over the supersampled picture, first axis down. Positions and lengths are shares of the
picture's side, so scenes look alike at any size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from custom.errors import InputError

__all__ = [
    "ANGLES",
    "SMALLEST_SIZE",
    "SUPERSAMPLING",
    "Field",
    "Range",
    "blend",
    "check_size",
    "draw_integer",
    "draw_log_uniform",
    "draw_outline",
    "layered_noise",
    "pixel_centres",
    "place_centre",
    "relative_radius",
    "shrink",
    "smooth_noise",
    "strands",
    "to_mask",
    "to_picture",
]

Field = NDArray[np.floating]
Range = tuple[float, float]

SMALLEST_SIZE = 32
SUPERSAMPLING = 2
ANGLES = np.linspace(-np.pi, np.pi, 360, endpoint=False)


def check_size(size: int) -> None:
    """Raise `InputError` if a picture of `size` pixels per side is too small to show the smallest lesion."""
    if size < SMALLEST_SIZE:
        raise InputError(f"image_size is {size}: give at least {SMALLEST_SIZE}")


def pixel_centres(side: int) -> tuple[Field, Field]:
    """Down [side, 1] and across [1, side], in shares of the side."""
    down, across = ((axis.astype(np.float32) + 0.5) / side for axis in np.ogrid[0:side, 0:side])
    return down, across


def draw_integer(ends: tuple[int, int], rng: np.random.Generator) -> int:
    """A whole number, both ends included."""
    return int(rng.integers(*ends, endpoint=True))


def draw_log_uniform(ends: Range, rng: np.random.Generator) -> float:
    """A number whose logarithm is uniform: small values are as frequent as large ones."""
    return float(np.exp(rng.uniform(*np.log(ends))))


def smooth_noise(cells: tuple[int, int], side: int, rng: np.random.Generator) -> Field:
    """Noise [side, side] of about unit variance with `cells` (down, across) independent values, joined smoothly."""
    knots = rng.standard_normal(cells, dtype=np.float32) * 1.2
    return np.asarray(Image.fromarray(knots).resize((side, side), Image.Resampling.BICUBIC))


def layered_noise(cells: int, side: int, rng: np.random.Generator, layers: int = 3) -> Field:
    """Cloud-like noise of about unit variance: each layer has twice the cells and half the height of the last."""
    heights = 0.5 ** np.arange(layers)
    layered = sum(
        height * smooth_noise((cells * 2**k, cells * 2**k), side, rng) for k, height in enumerate(heights.tolist())
    )
    return layered / np.sqrt((heights**2).sum())


def strands(cells: tuple[int, int], thickness: float, side: int, rng: np.random.Generator) -> Field:
    """Thin curved lines, 0 to 1: the zero crossings of smooth noise."""
    return np.exp(-((smooth_noise(cells, side, rng) / thickness) ** 2))


def draw_outline(waves: int, roughness: float, rng: np.random.Generator) -> Field:
    """Radius at each of `ANGLES` of a randomly dented circle whose area is that of the unit circle.

    `waves` is the largest number of dents around the circle, `roughness` about how deep the broadest ones are.
    """
    wave = np.arange(2, waves + 1)[:, None]
    height = rng.normal(scale=roughness, size=wave.shape) / (wave - 1) ** 0.75
    radius = 1 + (height * np.cos(wave * ANGLES + rng.uniform(0, 2 * np.pi, wave.shape))).sum(axis=0)
    radius = radius.clip(0.5, 1.7)
    return radius / np.sqrt(np.mean(radius**2))


def relative_radius(
    down: Field, across: Field, half_lengths: tuple[float, float], turn: float, outline: Field
) -> Field:
    """Distance from the centre of a turned, dented ellipse, relative to its outline there: 1 on it, less inside.

    `down` and `across` are counted from the centre; `half_lengths` are those of the ellipse (down, across).
    """
    along = (across * np.cos(turn) + down * np.sin(turn)) / half_lengths[1]
    upright = (down * np.cos(turn) - across * np.sin(turn)) / half_lengths[0]
    return np.hypot(along, upright) / np.interp(np.arctan2(upright, along), ANGLES, outline, period=2 * np.pi)


def place_centre(half_length: float, span: Range, rng: np.random.Generator) -> float:
    """A centre that keeps `half_length` within `span`, or the middle of the span if it is too short."""
    slack = max(0.0, (span[1] - span[0]) / 2 - half_length)
    return (span[0] + span[1]) / 2 + rng.uniform(-slack, slack)


def blend(share: Field, top: ArrayLike, bottom: ArrayLike) -> Field:
    """`top` where `share` [side, side] is 1, `bottom` where it is 0: colours [3] or pictures [side, side, 3]."""
    return np.asarray(bottom) + share[..., None] * (np.asarray(top) - np.asarray(bottom))


def shrink(picture: NDArray) -> Field:
    """Mean over the supersampled pixels of each pixel; [side, side] or [side, side, channels]."""
    side = len(picture) // SUPERSAMPLING
    return picture.reshape(side, SUPERSAMPLING, side, SUPERSAMPLING, *picture.shape[2:]).mean(axis=(1, 3))


def to_picture(colours: Field) -> NDArray[np.uint8]:
    """Shrink colours from 0 to 1, [side, side, 3], to bytes; what lies outside 0 to 1 is cut off."""
    return np.rint(255 * shrink(colours.clip(0, 1))).astype(np.uint8)


def to_mask(inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Shrink to 255 where at least half of the pixel is inside, else 0."""
    return np.where(shrink(inside) >= 0.5, 255, 0).astype(np.uint8)
