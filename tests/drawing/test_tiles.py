from __future__ import annotations

import numpy as np
import pytest
import torch

from custom.drawing.palette import DIFFERENCE_COLOUR
from custom.drawing.tiles import difference_tile, tile
from tests.drawing.scenes import left_half


def test_tile_is_upright_and_keeps_its_proportions():
    picture = tile(left_half(), size=80)
    assert picture.size == (80, 40)
    assert picture.getpixel((5, 35)) == (255, 255, 255)
    assert picture.getpixel((75, 5)) == (0, 0, 0)


def test_tile_keeps_channels_and_clips_values():
    image = torch.zeros(3, 4, 4)
    image[0], image[1] = 2.0, -1.0
    assert tile(image, size=8).getpixel((4, 4)) == (255, 0, 0)


def test_tile_refuses_a_batch():
    with pytest.raises(ValueError, match=r"\[3, W, H\]"):
        tile(np.zeros((2, 3, 4, 4)))


def test_the_difference_shows_where_hard_labels_differ():
    image = np.full((40, 20), 0.5)
    # 0.4 and 0.6 round to different labels in the left half, 0.6 and 0.6 to the same one in the right.
    shown = difference_tile(image, 0.6 - 0.2 * left_half(), np.full((40, 20), 0.6), size=80)
    assert shown.getpixel((10, 20)) == DIFFERENCE_COLOUR
    assert max(shown.getpixel((70, 20))) < 128
