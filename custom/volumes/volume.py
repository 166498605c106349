"""A volume in memory: the values of its voxels, and where they lie in the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custom.errors import InputError

__all__ = ["MAX_VOXELS", "Volume", "require_voxels_at_most"]

MAX_VOXELS = 250_000_000
"""Larger volumes are refused: as float32 such a volume takes 1 GB."""


@dataclass(frozen=True)
class Volume:
    """A stack of slices as a file or series stores it; the slices lie along the third axis.

    Attributes:
        values: [I, J, K] in the file's own units (after a rescale slope, such as Hounsfield units), or [I, J, K, 3]
            colours in 0 to 255.
        affine: [4, 4], from voxel indices to millimetres in a patient's right, anterior, superior (RAS).
        is_8_bits: the values are brightness from 0 to 255, which no window changes by itself.
        white_is_zero: large values are meant dark.
        patient: who the images are of, where the file names one.
    """

    values: NDArray
    affine: NDArray[np.float64]
    is_8_bits: bool = False
    white_is_zero: bool = False
    patient: str | None = None

    @property
    def is_colour(self) -> bool:
        """Whether each voxel has a colour."""
        return self.values.ndim == 4


def require_voxels_at_most(shape: tuple[int, ...], most: int = MAX_VOXELS) -> None:
    """Raise an `InputError` where there are more than `most` voxels; call it before decoding."""
    if np.prod(shape, dtype=float) > most:
        size = "x".join(map(str, shape))
        raise InputError(f"{size} voxels are more than {most}; crop or scale the volume")
