from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from custom.metrics.release import release_scores


def disc(radius: float = 40, right: int = 0, down: int = 0) -> np.ndarray:
    """A disc on a 224 x 224 picture, bool [H, W]."""
    y, x = np.mgrid[:224, :224]
    return (x - 112 - right) ** 2 + (y - 112 - down) ** 2 <= radius**2


# The values which the released script's own functions give for these masks.
@pytest.mark.parametrize(
    "prediction, dice, row_hausdorff",
    [
        (disc(down=10), 0.842, 0.0),
        (disc(down=52), 0.235, 0.0),
        (disc(right=1), 0.984, 1.34),
        (disc(right=5), 0.921, 3.00),
        (disc(right=10), 0.842, 4.25),
        (disc(right=50), 0.260, 8.55),
        (disc(radius=45), 0.883, 3.00),
        (disc(radius=30), 0.719, 4.25),
    ],
)
def test_discs_score_as_in_the_released_script(prediction, dice, row_hausdorff):
    scores = release_scores(prediction, disc())
    assert scores["dice"] == pytest.approx(dice, abs=6e-4)
    assert scores["row_hausdorff"] == pytest.approx(row_hausdorff, abs=5e-3)


def test_row_hausdorff_is_blind_to_the_order_of_rows():
    shuffled = disc()[np.random.default_rng(0).permutation(224)]
    assert release_scores(shuffled, disc())["row_hausdorff"] == 0


def test_row_hausdorff_equals_the_plain_definition():
    rng = np.random.default_rng(1)
    prediction, truth = rng.random((2, 12, 9)) > 0.6
    distance = np.linalg.norm(truth[:, None].astype(float) - prediction[None].astype(float), axis=2)
    expected = 0.95 * max(distance.min(axis=1).max(), distance.min(axis=0).max())
    assert release_scores(prediction, truth)["row_hausdorff"] == pytest.approx(expected)


@pytest.mark.parametrize("truth", [disc(), np.zeros((224, 224), bool)])
def test_empty_prediction_scores_zero_throughout(truth):
    assert release_scores(np.zeros((224, 224), bool), truth) == {"dice": 0, "iou": 0, "row_hausdorff": 0}


def test_dice_has_a_thousandth_in_its_denominator_and_iou_has_not():
    one_pixel = np.eye(1, 4, dtype=int)  # [[1, 0, 0, 0]]
    scores = release_scores(one_pixel, one_pixel)
    assert scores["dice"] == 2 / 2.001
    assert scores["iou"] == 1


def test_empty_truth_is_compared_row_by_row():
    scores = release_scores(disc(), np.zeros((224, 224)))
    assert scores["dice"] == 0
    assert scores["row_hausdorff"] == pytest.approx(0.95 * math.sqrt(81))  # the widest row of the disc


def test_tensors_are_accepted():
    prediction = torch.from_numpy(disc(right=5)).float()
    assert release_scores(prediction, torch.from_numpy(disc())) == release_scores(disc(right=5), disc())


def test_masks_with_a_channel_are_refused():
    with pytest.raises(ValueError, match=r"\[H, W\]"):
        release_scores(np.ones((1, 4, 4)), np.ones((1, 4, 4)))
