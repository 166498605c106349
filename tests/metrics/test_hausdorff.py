from __future__ import annotations

import math
import warnings

import pytest
import torch
from monai.data import MetaTensor

from custom.metrics.hausdorff import HausdorffDistance95Metric, compute_hausdorff_distance_95


def one_hot(mask: torch.Tensor) -> torch.Tensor:
    """Binary [W, H] -> [1, 2, W, H]."""
    return torch.stack([~mask, mask])[None].float()


def square(left: int, shape: tuple[int, int] = (30, 40)) -> torch.Tensor:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[left : left + 8, 5:13] = True
    return mask


EMPTY = torch.zeros(30, 40, dtype=torch.bool)


def test_square_shifted_by_four_pixels_is_four_away():
    distance = compute_hausdorff_distance_95(one_hot(square(5)), one_hot(square(9)))
    assert distance.tolist() == [[4.0]]


def test_distance_is_a_percentile_not_the_maximum():
    stray = square(5)
    stray[29, 39] = True  # one stray pixel among 29 outline pixels is below 5 %
    distance = compute_hausdorff_distance_95(one_hot(stray), one_hot(square(5)))
    assert distance.item() < 1


@pytest.mark.parametrize("right, down, expected", [(0, 10, 10.0), (0, 52, 51.2), (1, 0, 1.0), (50, 0, 49.2)])
def test_shifted_disc_is_seen_in_every_direction(right, down, expected):
    x, y = torch.meshgrid(torch.arange(224), torch.arange(224), indexing="ij")
    disc = (x - 112) ** 2 + (y - 112) ** 2 <= 40**2
    moved = disc.roll((right, down), dims=(0, 1))
    assert compute_hausdorff_distance_95(one_hot(moved), one_hot(disc)).item() == pytest.approx(expected, abs=0.05)


def test_batched_meta_tensors_are_accepted():
    prediction = MetaTensor(torch.cat([one_hot(square(5)), one_hot(EMPTY)]))
    prediction.is_batch = True
    truth = torch.cat([one_hot(square(9)), one_hot(square(9))])
    assert compute_hausdorff_distance_95(prediction, truth).tolist() == [[4.0], [50.0]]


def test_both_empty_is_zero():
    for empty in ("diagonal", "exclude"):
        assert compute_hausdorff_distance_95(one_hot(EMPTY), one_hot(EMPTY), empty=empty).tolist() == [[0.0]]


@pytest.mark.parametrize("prediction, truth", [(EMPTY, square(5)), (square(5), EMPTY)])
def test_one_empty_side_is_the_image_diagonal(prediction, truth):
    distance = compute_hausdorff_distance_95(one_hot(prediction), one_hot(truth))
    assert distance.tolist() == [[50.0]]  # sqrt(30**2 + 40**2)


def test_one_empty_side_can_be_excluded():
    distance = compute_hausdorff_distance_95(one_hot(EMPTY), one_hot(square(5)), empty="exclude")
    assert math.isnan(distance.item())


def test_each_image_and_class_gets_its_own_distance():
    truth = torch.zeros(2, 3, 30, 40)
    prediction = torch.zeros(2, 3, 30, 40)
    truth[0, 1], prediction[0, 1] = square(5), square(9)
    truth[0, 2], prediction[0, 2] = square(5), EMPTY
    truth[1, 2], prediction[1, 2] = square(5), square(6)
    assert compute_hausdorff_distance_95(prediction, truth).tolist() == [[4.0, 50.0], [0.0, 1.0]]


def test_background_counts_when_asked_for():
    distance = compute_hausdorff_distance_95(one_hot(square(5)), one_hot(square(9)), include_background=True)
    assert distance.shape == (1, 2)


def test_no_warnings_are_raised():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute_hausdorff_distance_95(one_hot(square(5)), one_hot(square(9)))
        compute_hausdorff_distance_95(one_hot(EMPTY), one_hot(square(5)))
        compute_hausdorff_distance_95(one_hot(EMPTY), one_hot(EMPTY))


def test_metric_averages_over_batches():
    metric = HausdorffDistance95Metric()
    metric(one_hot(square(5)), one_hot(square(9)))
    metric(list(one_hot(square(5))), list(one_hot(square(7))))
    assert metric.aggregate().item() == 3.0


def test_metric_leaves_out_and_counts_excluded_images():
    metric = HausdorffDistance95Metric(empty="exclude", get_not_nans=True)
    metric(one_hot(square(5)), one_hot(square(9)))
    metric(one_hot(EMPTY), one_hot(square(9)))
    mean, count = metric.aggregate()
    assert (mean.item(), count.item()) == (4.0, 1.0)


def test_unknown_empty_rule_is_refused():
    with pytest.raises(ValueError, match="empty must be one of"):
        HausdorffDistance95Metric(empty="nothing")


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"must both be \[B, C, W, H\]"):
        compute_hausdorff_distance_95(torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 9))
