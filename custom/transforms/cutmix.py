"""CutMix: in each image a box of its own, which another image of the batch fills (Yun et al., ICCV 2019)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from custom.errors import InputError

__all__ = ["cutmix_masks"]

AREAS = (0.02, 0.4)
ASPECTS = (0.3, 1 / 0.3)


def cutmix_masks(
    rows: int, height: int, width: int, probability: float = 0.5, device: torch.device | None = None
) -> Tensor:
    """Masks of ones, each with a box of zeros or without one, [rows, 1, height, width]; for `copy_paste.mix`.

    As in the release of UniMatch: the box has an area A uniform in [0.02, 0.4] of the image's and an aspect r uniform
    in [0.3, 1 / 0.3]; its height is floor(sqrt(A r)), its width floor(sqrt(A / r)), its corner is uniform over the
    image. Aspect and corner are drawn again until the box lies in the image. All draws are from torch's generator.

    The partner of row i is up to the caller; UniMatch takes row B - 1 - i: `mix(rows, rows.flip(0), masks)`.

    Args:
        rows: number of images, B.
        height: their height in pixels.
        width: their width in pixels.
        probability: of a box, for each image.
        device: where the masks go.

    Raises:
        InputError: `probability` is not in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise InputError(f"CutMix probability {probability}: give one from 0 to 1")
    masks = torch.ones(rows, 1, height, width)
    for mask in masks:
        if torch.rand(()) < probability:
            top, left, box_height, box_width = _draw_box(height, width)
            mask[:, top : top + box_height, left : left + box_width] = 0
    return masks.to(device)


def _draw_box(height: int, width: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of a box that lies in the image."""
    area = _uniform(*AREAS) * height * width
    while True:
        aspect = _uniform(*ASPECTS)
        box_height, box_width = int(math.sqrt(area * aspect)), int(math.sqrt(area / aspect))
        top, left = int(torch.randint(height, ())), int(torch.randint(width, ()))
        if top + box_height <= height and left + box_width <= width:
            return top, left, box_height, box_width


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
