"""A vector for each class that says what the class is: read from a file of text features, or drawn at random."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from custom.errors import InputError, short_reason
from custom.files import require_regular_file

__all__ = ["LENGTH", "random_orthogonal_vectors", "read_text_vectors"]

LENGTH = 10.0
"""Length of a random vector: about that of CLIP's text features, a guess (inferred, not measured)."""


def read_text_vectors(path: str | os.PathLike, num_classes: int) -> Tensor:
    """The vectors [K, D] of a safetensors file that holds one tensor, a row for each class, the background first.

    Args:
        path: the file.
        num_classes: K, with the background.

    Raises:
        InputError: there is no such file, or it holds something else; the message names it and what it must hold.
    """
    path, wanted = Path(path), f"give a safetensors file of one tensor, [{num_classes}, channels], a row for each class"
    if not path.exists():
        raise InputError(f"text_embeddings {path}: there is no such file; {wanted}")
    require_regular_file(path)
    try:
        tensors = load_file(path)
    except Exception as error:  # whatever a damaged file makes the library raise
        reason = short_reason(error, 200)
        raise InputError(f"text_embeddings {path}: it cannot be read ({reason}); {wanted}") from error
    shapes = [tuple(tensor.shape) for tensor in tensors.values()]
    if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][0] != num_classes:
        found = ", ".join(str(list(shape)) for shape in shapes[:3]) or "nothing"
        raise InputError(f"text_embeddings {path}: it holds {found} for {num_classes} classes; {wanted}")
    (vectors,) = tensors.values()
    vectors = vectors.float().clone()  # memory of its own, aligned as that of other tensors
    if not vectors.isfinite().all() or not vectors.any(dim=1).all():
        raise InputError(f"text_embeddings {path}: a row is zero or not finite; {wanted}")
    return vectors


def random_orthogonal_vectors(num_classes: int, channels: int, length: float = LENGTH) -> Tensor:
    """Vectors [K, D] of the same length at right angles to each other, drawn from PyTorch's random numbers.

    Args:
        num_classes: K, at most D.
        channels: D.
        length: of each.

    Raises:
        InputError: there are fewer channels than classes.
    """
    if channels < num_classes:
        raise InputError(f"text_channels {channels}: give at least as many as there are classes, {num_classes}")
    directions = torch.linalg.qr(torch.randn(channels, num_classes, device="cpu")).Q
    return length * directions.T.contiguous()
