import pytest
import torch
from monai.data import MetaTensor

from custom.transforms import ResizeSlicesd


def resized(size, **settings):
    return ResizeSlicesd("image", [16, 16], **settings)({"image": MetaTensor(torch.rand(3, *size))})["image"]


@pytest.mark.parametrize(
    ("size", "settings", "expected"),
    [
        ((100, 80), {}, (16, 16)),
        ((100, 80), {"source_side": 20}, (16, 16)),
        ((100, 80), {"windows_above": 50}, (16, 16)),
        ((100, 80), {"source_side": 20, "windows_above": 50}, (80, 64)),
        ((100, 80), {"source_side": 20, "windows_above": 100}, (16, 16)),  # not above
        ((100, 80), {"source_side": 50, "windows_above": 50}, (16, 16)),  # not more than twice as large
        ((200, 10), {"source_side": 20, "windows_above": 50}, (160, 16)),  # no side below the network's
    ],
)
def test_only_large_pictures_of_a_fixed_scale_keep_it(size, settings, expected):
    assert tuple(resized(size, **settings).shape) == (3, *expected)


def test_the_size_of_a_large_picture_comes_back():
    resize = ResizeSlicesd("image", [16, 16], source_side=20, windows_above=50)
    picture = MetaTensor(torch.rand(3, 101, 83))
    assert resize.inverse(resize({"image": picture}))["image"].shape == picture.shape
