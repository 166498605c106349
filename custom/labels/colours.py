"""Colours for class indices, so that an encoder can read a label like an image."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

__all__ = ["colour_labels", "colour_palette", "distant_palette"]

BLACK, RED, GREEN, BLUE, WHITE = (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)
LEVELS = 9
"""Values of red, of green and of blue from which the colours of further classes are chosen."""

MOST_DISTANT = {  # in a cube of side 4; best arrangements of 2 to 6 points by their smallest distance
    2: [(0, 0, 0), (4, 4, 4)],
    3: [(0, 0, 0), (0, 4, 4), (4, 0, 4)],
    4: [(0, 0, 0), (0, 4, 4), (4, 0, 4), (4, 4, 0)],
    5: [(0, 0, 0), (0, 2, 4), (2, 4, 0), (4, 0, 2), (4, 4, 4)],
    6: [(0, 0, 1), (0, 3, 4), (1, 4, 0), (3, 0, 4), (4, 1, 0), (4, 4, 3)],
}


def colour_palette(num_classes: int) -> Tensor:
    """DiffRect's RGB colour for each class, [K, 3] in [0, 1], the background black.

    Two classes are black and white; a third and fourth make it black, red, green, blue (DiffRect, released code). The
    paper asks for colours as far apart as possible, and the code ends with four. Further classes continue from those
    four: each gets the colour of a 9 x 9 x 9 grid whose distance to the nearest colour before it is the largest (the
    first in the order of red, green, blue if several are). White comes first, then cyan, magenta and yellow.

    >>> from custom.labels import colour_palette
    >>> colour_palette(3).tolist()
    [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]

    Args:
        num_classes: K, with the background; at least 2.
    """
    if num_classes == 2:
        return torch.tensor([BLACK, WHITE], dtype=torch.float32)
    return _continue_palette([BLACK, RED, GREEN, BLUE], num_classes)


def distant_palette(num_classes: int) -> Tensor:
    """One RGB colour for each class, as far apart as the cube allows, [K, 3] in [0, 1], the background the darkest.

    The smallest distance between two colours is the largest possible for 2 to 6 and for 8 classes: sqrt(3), sqrt(2),
    sqrt(2), sqrt(5) / 2, 3 sqrt(2) / 4, and 1 (Schaer, Canadian Mathematical Bulletin 1966). Seven or eight classes
    have corners of the cube; seven could be 0.2 % farther apart. Further ones continue from the corners, as in
    `colour_palette`. Two classes are black and white.

    >>> from custom.labels import distant_palette
    >>> distant_palette(3).tolist()
    [[0.0, 0.0, 0.0], [0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]

    Args:
        num_classes: K, with the background; at least 2.
    """
    if num_classes in MOST_DISTANT:
        return torch.tensor(MOST_DISTANT[num_classes]) / 4
    return _continue_palette(list(product((0, 1), repeat=3)), num_classes)


def _continue_palette(colours: list[tuple[int, ...]], num_classes: int) -> Tensor:
    """The first K of `colours`, corners of the unit cube, and the farthest further ones; [K, 3] in [0, 1]."""
    top = LEVELS - 1
    palette = top * torch.tensor(colours)  # integers: equal distances are exactly equal
    grid = torch.cartesian_prod(*[torch.arange(LEVELS)] * 3)
    while len(palette) < num_classes:
        squared_distances = (grid[:, None] - palette).square().sum(dim=2)
        farthest = squared_distances.amin(dim=1).argmax()
        palette = torch.cat([palette, grid[farthest, None]])
    return palette[:num_classes] / top


def colour_labels(labels: Tensor, palette: Tensor) -> Tensor:
    """Class indices [B, 1, H, W], float or integer -> colours [B, 3, H, W] of `palette` [K, 3].

    >>> import torch
    >>> from custom.labels import colour_labels, colour_palette
    >>> colour_labels(torch.ones(1, 1, 1, 1), colour_palette(3)).flatten().tolist()
    [1.0, 0.0, 0.0]
    """
    return palette[labels.squeeze(1).long()].movedim(-1, 1).contiguous()
