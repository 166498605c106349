"""A mask brought onto the grid of its volume: programs turn the axes of a file, and cut empty margins off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from custom.errors import InputError
from custom.volumes.volume import Volume

__all__ = ["on_grid", "turned"]

_TOLERANCE = 0.1  # of a voxel, at any corner of the mask: files round their affines


def turned(mask: Volume, affine: NDArray) -> Volume:
    """The mask with its axes along those of a volume with `affine`: programs store them in different orders."""
    stored = orientations.io_orientation(mask.affine)
    turn = orientations.ornt_transform(stored, orientations.io_orientation(affine))
    values = orientations.apply_orientation(mask.values, turn)
    return replace(mask, values=values, affine=mask.affine @ orientations.inv_ornt_aff(turn, mask.values.shape[:3]))


def on_grid(mask: Volume, shape: Sequence[int], affine: NDArray) -> NDArray:
    """The values of a mask on a grid; zero where the mask has none.

    The mask may have its axes turned, and may be smaller than the grid or reach beyond it, as long as its voxels lie
    on voxels of the grid: 3D Slicer, for one, cuts the empty margins of a segmentation off.

    >>> import numpy as np
    >>> from custom.volumes import Volume
    >>> from custom.volumes.grid import on_grid
    >>> moved = np.eye(4)
    >>> moved[0, 3] = 1  # millimetre, of voxels of one
    >>> on_grid(Volume(np.ones((2, 1, 1)), moved), (4, 1, 1), np.eye(4)).ravel().tolist()
    [0.0, 1.0, 1.0, 0.0]

    Args:
        mask: values [I, J, K], with their affine.
        shape: of the grid, three numbers.
        affine: of the grid, [4, 4] to RAS.

    Raises:
        InputError: the voxels of the mask lie elsewhere, or none lies on the grid.
    """
    mask = turned(mask, affine)
    steps = np.linalg.inv(affine) @ mask.affine  # from the mask's indices to those of the grid
    offset = np.rint(steps[:3, 3]).astype(int)
    sizes = [*zip(mask.values.shape, shape, strict=True)]
    drift = np.abs(steps[:3, :3] - np.eye(3)) @ np.asarray(mask.values.shape) + np.abs(steps[:3, 3] - offset)
    if (drift > _TOLERANCE).any():
        raise InputError("it does not lie on the voxels of its image; resample it onto the image")
    start, end = np.maximum(offset, 0), [min(at + own, size) for at, (own, size) in zip(offset, sizes, strict=True)]
    if (start >= end).any():
        raise InputError("it lies elsewhere in the patient than its image; draw it on the image")
    placed = np.zeros(tuple(shape), mask.values.dtype)
    there = tuple(slice(*ends) for ends in zip(start, end, strict=True))
    placed[there] = mask.values[tuple(slice(*ends) for ends in zip(start - offset, end - offset, strict=True))]
    return placed
