from __future__ import annotations

import pytest
import torch

from custom.metrics import disputed_share


def dispute(first, second):
    """Of two branches, each [1, W, H] in [0, 1]."""
    return disputed_share((first - second).abs(), (first + second) / 2)


def box(width, height, size=100):
    """A picture of `size` x `size` pixels with a box in its corner."""
    picture = torch.zeros(1, size, size)
    picture[:, :width, :height] = 1
    return picture


def test_branches_that_agree_have_none():
    assert dispute(box(20, 30), box(20, 30)) == 0
    assert dispute(0.3 * box(20, 30), 0.3 * box(20, 30)) == 0


def test_branches_that_mark_different_things_have_all():
    assert dispute(box(20, 30), box(20, 30).flip(1)) == pytest.approx(1)
    assert dispute(box(20, 30), torch.zeros(1, 100, 100)) == pytest.approx(1)


def test_it_is_the_share_of_the_marked_area_that_is_disputed():
    assert dispute(box(20, 30), box(20, 15)) == pytest.approx(0.5)
    assert dispute(box(20, 20), box(20, 15)) == pytest.approx(0.25)


def test_it_counts_by_degrees():
    everywhere = torch.ones(1, 4, 4)
    assert dispute(0.8 * everywhere, 0.6 * everywhere) == pytest.approx(0.2 / 0.8)


def test_the_size_of_an_object_does_not_count():
    small = dispute(box(12, 10), box(12, 8))
    large = dispute(box(60, 50), box(60, 40))
    assert small == pytest.approx(large) == pytest.approx(0.2)


def test_a_few_pixels_of_noise_on_an_empty_picture_are_no_dispute():
    assert dispute(box(3, 1), torch.zeros(1, 100, 100)) == pytest.approx(3 / 100)
    assert dispute(torch.zeros(1, 100, 100), torch.zeros(1, 100, 100)) == 0
