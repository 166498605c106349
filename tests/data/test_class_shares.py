from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from custom.data import class_shares


def test_shares_are_the_mean_over_masks_of_any_size_without_undecided_pixels(tmp_path):
    masks = {"a.png": [[0, 0, 1, 2]], "b.png": [[0, 9], [9, 9]]}
    for name, pixels in masks.items():
        Image.fromarray(np.array(pixels, np.uint8)).save(tmp_path / name)
    items = [{"label": str(tmp_path / name)} for name in masks] + [{"image": "no label"}]
    assert class_shares(items, 3, ignore_value=9) == pytest.approx([0.75, 0.125, 0.125])


def test_without_labels_there_are_no_shares():
    assert class_shares([], 3) == [0, 0, 0]
