"""How slices are shown: turned as radiologists look at them, whatever way a file stores them."""

from __future__ import annotations

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

__all__ = ["display_axcodes", "to_slices"]

_SHOWN = {"S": "LP", "I": "LP", "A": "LI", "P": "LI", "L": "PI", "R": "PI"}
"""Where the columns and the rows of a slice run to, by where the slices run to: axial, coronal, sagittal."""


def display_axcodes(affine: NDArray) -> tuple[str, str, str]:
    """Axis codes of a volume whose slices are shown: columns, rows, slices.

    Slices are cut along the third axis as stored and stay in their order. An axial slice has the patient's left at the
    right and the front at the top; a coronal one the left at the right and the head at the top; a sagittal one the
    front at the left and the head at the top.

    Args:
        affine: [4, 4], from voxel indices to RAS.
    """
    slices = orientations.aff2axcodes(affine)[2]
    columns, rows = _SHOWN[slices]
    return columns, rows, slices


def to_slices(values: NDArray, affine: NDArray) -> NDArray:
    """Values [I, J, K, ...] of a volume as they are shown, [W, H, K, ...].

    >>> import numpy as np
    >>> from custom.volumes import to_slices
    >>> to_slices(np.arange(4).reshape(2, 2, 1), np.eye(4))[:, :, 0].T.tolist()  # RAS: both axes run the other way
    [[3, 1], [2, 0]]
    """
    stored = orientations.io_orientation(affine)
    wanted = orientations.axcodes2ornt(display_axcodes(affine))
    turned = orientations.ornt_transform(stored, wanted)
    return np.ascontiguousarray(orientations.apply_orientation(values, turned))
