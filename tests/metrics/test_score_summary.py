from __future__ import annotations

import math

import pytest

from custom.metrics import summarise_scores


def rows(*values, num_classes=2):
    """Scores of one image per value."""
    names = ["mean.dice", "mean.one_side_empty", "truth.foreground", *(["release.dice"] if num_classes == 2 else [])]
    return [dict.fromkeys(names, value) for value in values]


def test_statistics_leave_out_the_images_without_a_value():
    dice = summarise_scores(rows(0.2, math.nan, 0.6), ["mean"], 2)["branches"]["mean"]["dice"]
    assert (dice["mean"], dice["median"], dice["standard_deviation"]) == pytest.approx((0.4, 0.4, 0.2))
    assert dice["images"] == 2


def test_a_statistic_that_no_image_has_is_none():
    foreground = summarise_scores(rows(math.nan), ["mean"], 2)["truth"]["foreground"]
    assert set(foreground.values()) == {None, 0}


def test_empty_sides_are_counted_and_not_averaged():
    mean = summarise_scores(rows(1, 0, 1), ["mean"], 2)["branches"]["mean"]
    assert mean["images_with_one_side_empty"] == 2
    assert "one_side_empty" not in mean


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_released_figures_are_those_of_two_classes(num_classes):
    summary = summarise_scores(rows(0.5, num_classes=num_classes), ["mean"], num_classes)
    assert ("release" in summary) == (num_classes == 2)
