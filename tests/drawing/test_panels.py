from __future__ import annotations

import numpy as np
import pytest
import torch

from custom.drawing.palette import DIFFERENCE_COLOUR, TRUTH_COLOUR
from custom.drawing.panels import case_panel
from custom.drawing.tiles import tile
from tests.drawing.scenes import contains, left_half


def test_panel_of_an_unlabelled_image_has_no_truth():
    image = np.full((3, 40, 20), 0.5)
    labelled = case_panel(image, left_half(), {"mean": left_half()}, size=80)
    unlabelled = case_panel(image, None, {"mean": left_half()}, size=80)
    assert contains(labelled, TRUTH_COLOUR) and not contains(unlabelled, TRUTH_COLOUR)
    assert labelled.width - unlabelled.width == unlabelled.width - tile(image, 80).width == 88  # one tile and its gap


def test_panel_shows_the_difference_of_two_branches_only():
    image = torch.full((3, 40, 20), 0.5)
    one = {"mean": left_half(), "image_branch": left_half()}
    two = {**one, "mask_branch": np.zeros((40, 20))}
    assert not contains(case_panel(image, left_half(), one), DIFFERENCE_COLOUR)
    assert contains(case_panel(image, left_half(), two), DIFFERENCE_COLOUR)


def test_panel_draws_the_mean_after_the_branches():
    image, empty = np.zeros((3, 40, 20)), np.zeros((40, 20))
    panel = case_panel(image, None, {"mean": left_half(), "image_branch": empty}, size=80)
    image_tile, branch, mean = (np.asarray(panel)[:40, left : left + 80] for left in (0, 88, 176))
    assert np.array_equal(branch, image_tile) and not np.array_equal(mean, image_tile)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_ignored_pixels_are_grey_and_outlined_as_no_class(num_classes):
    image, nothing = np.zeros((3, 40, 20)), {"mean": np.zeros((40, 20))}
    undecided = case_panel(image, 255 * left_half(), nothing, num_classes, size=80)
    empty = case_panel(image, np.zeros((40, 20)), nothing, num_classes, size=80)
    truth = np.asarray(undecided)[:40, 88:168].astype(int)
    assert truth[20, 5].tolist() == truth[35, 30].tolist() and 60 < truth[20, 5].mean() < 128
    assert not truth[:, 45:].any() and np.ptp(truth, axis=2).max() == 0  # no outline has a colour
    assert np.array_equal(np.asarray(undecided)[:40, 176:], np.asarray(empty)[:40, 176:])


def test_a_class_beside_ignored_pixels_keeps_its_outline():
    truth = left_half() + 255 * np.flip(left_half(), axis=0)
    assert contains(case_panel(np.zeros((3, 40, 20)), truth, {}, size=80), TRUTH_COLOUR)
