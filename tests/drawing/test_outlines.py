from __future__ import annotations

import numpy as np
import pytest

from custom.drawing.outlines import draw_classes, draw_contour, draw_truth
from custom.drawing.palette import CLASS_COLOURS, TRUTH_COLOUR, class_colour
from tests.drawing.scenes import RED, black, contains, left_half


def test_contour_runs_along_the_edge_of_the_mask():
    drawn = draw_contour(black(), left_half(), RED, width=2)
    coloured = np.asarray(drawn)[:, :, 0] > 200
    columns = np.flatnonzero(coloured[20])
    assert 38 <= columns.max() <= 41  # the mask ends at x = 40
    assert columns.min() <= 1  # closed along the border of the image
    assert not coloured[20, 10:30].any()


def test_contour_leaves_the_given_tile_alone():
    ground = black()
    draw_contour(ground, left_half(), RED)
    assert not contains(ground, RED)


@pytest.mark.parametrize("fill, coloured", [(0.0, False), (1.0, True)])
def test_empty_mask_draws_nothing_and_full_mask_its_border(fill, coloured):
    assert contains(draw_contour(black(), np.full((40, 20), fill), RED, width=2), RED) is coloured


def test_classes_have_the_colours_of_the_palette_and_ignored_pixels_none():
    labels = left_half() + 2 * np.flip(left_half(), axis=0)
    drawn = draw_classes(black(), labels, 3, width=2)
    assert contains(drawn, class_colour(1)) and contains(drawn, class_colour(2))
    assert draw_classes(black(), 255 * left_half(), 3).tobytes() == black().tobytes()


@pytest.mark.parametrize(("num_classes", "colour"), [(2, TRUTH_COLOUR), (3, CLASS_COLOURS[0])])
def test_the_truth_of_two_classes_has_a_colour_of_its_own(num_classes, colour):
    assert contains(draw_truth(black(), left_half(), num_classes), colour)
