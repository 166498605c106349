"""How far each pixel is from the outline of a class, with a sign that tells inside from outside."""

from __future__ import annotations

import torch
from monai.transforms.utils import distance_transform_edt
from torch import Tensor

from custom.labels.ignored import clear_ignored, decided

__all__ = ["signed_distances"]


@torch.no_grad()
def signed_distances(labels: Tensor, num_classes: int, empty_distance: float = 1.0) -> Tensor:
    """Signed distance of every pixel to each foreground class, in [-1, 1]: negative inside (DTC, `compute_sdf`).

    With the Euclidean distance d_out of a pixel outside to the class and d_in of one inside to what is not the class,
    S = d_out / max d_out - d_in / max d_in, each largest distance that in the same image. Pixels of the class with one
    of the four neighbours outside have S = 0. Undecided pixels are on neither side: they are no outline, and S = 0
    there.

    >>> import torch
    >>> from custom.labels import signed_distances
    >>> labels = torch.tensor([0.0, 0, 0, 1, 1, 1]).reshape(1, 1, 1, 6)
    >>> [round(distance, 2) for distance in signed_distances(labels, num_classes=2).flatten().tolist()]
    [1.0, 0.67, 0.33, 0.0, -0.67, -1.0]

    Args:
        labels: class indices or `IGNORED_LABEL`, [B, 1, H, W].
        num_classes: K, with the background.
        empty_distance: S of all pixels where an image has none of a class, and minus that where it has nothing else.
            The release has 0 for the former and divides by zero for the latter.

    Returns:
        [B, K - 1, H, W], float32, for the classes 1 to K - 1.
    """
    classes = torch.arange(1, num_classes, device=labels.device).reshape(1, -1, 1, 1)
    inside = labels == classes
    outside = decided(labels) & ~inside
    to_inside, to_outside = _distances_to(inside), _distances_to(outside)
    signed = _over_largest(to_inside, outside) - _over_largest(to_outside, inside)
    signed = torch.where(inside & (to_outside <= 1), 0, signed)
    empty, full = ~_somewhere(inside), ~_somewhere(outside)
    signed = torch.where(empty, empty_distance, torch.where(full, -empty_distance, signed))
    return clear_ignored(signed, labels)


def _distances_to(there: Tensor) -> Tensor:
    """Distance in pixels to the nearest place where `there`, bool [B, C, H, W], is true; anything where none is."""
    return distance_transform_edt((~there).flatten(0, 1)).view(there.shape).float()


def _over_largest(distances: Tensor, counted: Tensor) -> Tensor:
    distances = torch.where(counted, distances, 0)
    return distances / distances.amax(dim=(2, 3), keepdim=True).clamp(min=1)


def _somewhere(there: Tensor) -> Tensor:
    return there.any(dim=3, keepdim=True).any(dim=2, keepdim=True)
