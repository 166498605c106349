"""Copy-paste mixing of labelled with unlabelled images, as in bidirectional copy-paste (not in the SemiGDA paper)."""

from __future__ import annotations

import torch
from torch import Tensor

from custom.errors import InputError

__all__ = ["copy_paste_mask", "mix"]


def copy_paste_mask(height: int, width: int, share: float = 2 / 3, device: torch.device | None = None) -> Tensor:
    """A mask of ones with a rectangle of zeros, [1, 1, height, width], shared by a batch (released code only).

    The sides of the rectangle are floor(share * side), 149 of 224; its corner is uniform over all integer positions
    from 0 to side - rectangle - 1.

    Raises:
        InputError: `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise InputError(f"copy-paste share {share}: must lie between 0 and 1")
    mask = torch.ones(1, 1, height, width, device=device)
    rows, columns = int(height * share), int(width * share)
    top = int(torch.randint(height - rows, ()))
    left = int(torch.randint(width - columns, ()))
    mask[..., top : top + rows, left : left + columns] = 0
    return mask


def mix(outside: Tensor, inside: Tensor, mask: Tensor) -> Tensor:
    """`outside` where the mask is 1 and `inside` where it is 0; a selection, so class indices stay class indices."""
    return torch.where(mask.bool(), outside, inside)
