"""Pieces of a slide are what the whole would give: resampled, and predicted in windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from custom.inferers import BranchInferer
from custom.slides import Slide
from custom.slides.resampling import bilinear, nearest, resample
from custom.slides.strips import soft_strips
from tests.slides.files import tissue, write_slide


@pytest.mark.parametrize(("taps", "mode"), [(bilinear, "bilinear"), (nearest, "nearest")])
@pytest.mark.parametrize("target", [(37, 90), (11, 23), (101, 64)])
def test_a_piece_is_resampled_like_the_whole(taps, mode, target):
    whole = torch.rand(2, 50, 64)
    expected = interpolate(whole[None], target, mode=mode)[0]
    place = (slice(3, 10), slice(7, 21))
    rows, columns = (
        taps(part.start, part.stop, source / size, source)
        for part, size, source in zip(place, target, whole.shape[1:], strict=True)
    )
    (top, bottom), (left, right) = rows.span, columns.span
    piece = resample(whole[:, top:bottom, left:right], top, left, rows, columns)
    assert torch.allclose(piece, expected[:, *place], atol=1e-4)


class Picture:
    """A picture that is read like a slide."""

    def __init__(self, values):
        self.values, self.size = values, (values.shape[2], values.shape[1])

    def read(self, left, top, width, height):
        return self.values[:, top : top + height, left : left + width]


class Uneven(nn.Module):
    """Depends on the place in a window and on which axis is which, so that windows differ where they overlap."""

    def __init__(self, hard_labels):
        super().__init__()
        self.num_classes, self.hard_labels = 4, hard_labels

    def forward(self, images):
        ramp = torch.linspace(0.3, 1, images.shape[2])[:, None]
        soft = images.mean(dim=1, keepdim=True) * ramp * 3
        return soft.round() if self.hard_labels else soft


@pytest.mark.parametrize("hard_labels", [False, True])
@pytest.mark.parametrize("size", [(70, 101), (32, 50), (32, 32), (160, 33)])
def test_strips_are_the_prediction_of_the_whole_in_windows(hard_labels, size):
    values = torch.rand(3, *size)
    network, inferer = Uneven(hard_labels), BranchInferer(window=32)
    seen_by_the_network = values.transpose(1, 2)[None]  # width first, as pictures are loaded
    expected = inferer(seen_by_the_network, network)[0].transpose(1, 2)
    strips = list(soft_strips(Picture(values), network, inferer, "cpu"))
    assert max(strip.shape[1] for strip in strips) <= 32
    assert torch.allclose(torch.cat(strips, dim=1), expected, atol=1e-5)


def test_every_region_of_every_level_is_the_one_that_was_asked_for(tmp_path):
    values = tissue(301, 203)
    path = write_slide(tmp_path / "a.tif", values, levels=(1, 2, 3), tile=64)  # levels are cut at odd places
    with Slide(path) as slide:
        assert slide.microns == (0.5, 0.5)
        for level, (width, height) in enumerate(slide.level_sizes):
            whole = slide.read(level, 0, 0, width, height)
            for left, top in ((0, 0), (17, 5), (width - 9, height - 7), (51, 60)):
                region = slide.read(level, left, top, 9, 7)
                assert np.array_equal(region, whole[top : top + 7, left : left + 9])


@pytest.mark.parametrize("values", [tissue(96, 80)[..., 0], tissue(96, 80).astype(np.uint16) * 257])
def test_grey_slides_and_slides_of_16_bits_are_colours_of_8(tmp_path, values):
    with Slide(write_slide(tmp_path / "a.tif", values, levels=(1,), tile=32, microns=None), bit_depth=16) as slide:
        region = slide.read(0, 3, 2, 5, 4)
        assert slide.microns is None
    expected = values[2:6, 3:8] if values.dtype == np.uint8 else values[2:6, 3:8] // 257
    assert np.array_equal(region, expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=2))
