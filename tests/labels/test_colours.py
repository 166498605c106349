from __future__ import annotations

import pytest
import torch

from custom.labels import colour_labels, colour_palette, distant_palette

BLACK, WHITE, RED, GREEN, BLUE = [0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]


@pytest.mark.parametrize(
    ("num_classes", "colours"),
    [(2, [BLACK, WHITE]), (3, [BLACK, RED, GREEN]), (4, [BLACK, RED, GREEN, BLUE])],
)
def test_few_classes_have_the_colours_of_the_release(num_classes, colours):
    assert colour_palette(num_classes).tolist() == colours


def test_fifth_colour_is_white_the_farthest_from_the_four():
    palette = colour_palette(5)
    assert palette[:4].tolist() == colour_palette(4).tolist()
    assert palette[4].tolist() == WHITE
    # To black sqrt(3), to each of the others sqrt(2).
    assert torch.cdist(palette[4:], palette[:4]).tolist()[0] == pytest.approx([3**0.5, 2**0.5, 2**0.5, 2**0.5])


def test_eight_colours_are_the_corners_of_the_cube_and_the_ninth_its_centre():
    palette = colour_palette(9)
    assert {tuple(colour) for colour in palette[:8].tolist()} == {
        (r, g, b) for r in (0, 1) for g in (0, 1) for b in (0, 1)
    }
    assert palette[8].tolist() == [0.5, 0.5, 0.5]


def test_many_classes_have_different_colours_in_the_cube():
    palette = colour_palette(40)
    assert palette.shape == (40, 3)
    assert palette.min() >= 0
    assert palette.max() <= 1
    assert len({tuple(colour) for colour in palette.tolist()}) == 40


def test_labels_become_colours_pixel_by_pixel():
    labels = torch.tensor([[[[0.0, 1.0, 2.0], [2.0, 2.0, 0.0]]]])
    coloured = colour_labels(labels, colour_palette(3))
    assert coloured.shape == (1, 3, 2, 3)
    assert coloured[0, 0].tolist() == [[0, 1, 0], [0, 0, 0]]  # red where the class is 1
    assert coloured[0, 1].tolist() == [[0, 0, 1], [1, 1, 0]]  # green where it is 2
    assert coloured[0, 2].count_nonzero() == 0


@pytest.mark.parametrize(
    ("num_classes", "distance"),
    [(2, 3**0.5), (3, 2**0.5), (4, 2**0.5), (5, 5**0.5 / 2), (6, 3 * 2**0.5 / 4), (7, 1), (8, 1), (9, 3**0.5 / 2)],
)
def test_distant_colours_are_as_far_apart_as_the_cube_allows(num_classes, distance):
    palette = distant_palette(num_classes)
    assert palette.shape == (num_classes, 3)
    assert palette.min() >= 0
    assert palette.max() <= 1
    assert torch.pdist(palette).min().item() == pytest.approx(distance)
    assert palette.sum(dim=1).argmin() == 0  # the background is the darkest
    assert torch.pdist(palette).min() >= torch.pdist(colour_palette(num_classes)).min() - 1e-6


def test_two_distant_colours_are_black_and_white():
    assert distant_palette(2).tolist() == [BLACK, WHITE]
