from __future__ import annotations

import pytest
import torch

from custom.transforms.cutmix import cutmix_boxes


@pytest.mark.parametrize("size", [(32, 32), (20, 60)])
def test_each_image_has_a_rectangle_of_its_own_of_a_size_in_range(size):
    torch.manual_seed(0)
    boxes = cutmix_boxes(50, *size, prob=1.0)
    assert boxes.shape == (50, 1, *size)
    assert len({tuple(box.flatten().tolist()) for box in boxes}) > 40
    for box in boxes[:, 0]:
        rows, columns = box.amax(dim=1).sum(), box.amax(dim=0).sum()
        assert box.sum() == rows * columns  # a rectangle, of ones
        assert 0 < box.mean() < 0.45


@pytest.mark.parametrize(("prob", "least", "most"), [(0.0, 0, 0), (0.5, 70, 130), (1.0, 200, 200)])
def test_a_rectangle_is_there_with_a_probability(prob, least, most):
    torch.manual_seed(0)
    assert least <= cutmix_boxes(200, 16, 16, prob).amax(dim=(1, 2, 3)).sum() <= most
