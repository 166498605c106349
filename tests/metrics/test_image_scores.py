from __future__ import annotations

import math

import pytest
import torch

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.metrics import score_image
from custom.metrics.image_scores import own_size_dice

BRANCHES = ("mean", "image_branch", "mask_branch")


def block(left: int, width: int, value: float = 1.0, shape: tuple[int, int] = (12, 9)) -> torch.Tensor:
    """`width` columns of `value` in an image 12 wide and 9 high, [W, H]."""
    mask = torch.zeros(shape)
    mask[left : left + width] = value
    return mask


def test_scores_of_a_block_one_column_off():
    scores = score_image(block(3, 4)[None], block(2, 4))
    assert scores["mean.dice"] == pytest.approx(3 / 4)
    assert scores["mean.iou"] == pytest.approx(3 / 5)
    assert scores["mean.hd95"] == 1.0
    assert scores["mean.foreground"] == scores["truth.foreground"] == pytest.approx(4 / 12)


def test_prediction_of_exactly_one_half_is_background():
    assert score_image(block(0, 12, 0.5)[None], block(2, 4))["mean.foreground"] == 0


def test_both_sides_empty_is_perfect_except_by_the_released_rule():
    scores = score_image(block(0, 0)[None], block(0, 0))
    assert (scores["mean.dice"], scores["mean.iou"], scores["mean.hd95"]) == (1, 1, 0)
    assert scores["release.dice"] == 0
    assert scores["mean.one_side_empty"] == 0


@pytest.mark.parametrize("prediction, truth", [(block(0, 0), block(2, 4)), (block(2, 4), block(0, 0))])
def test_one_empty_side_is_worst_and_marked(prediction, truth):
    scores = score_image(prediction[None], truth)
    assert (scores["mean.dice"], scores["mean.iou"], scores["mean.hd95"]) == (0, 0, 15)  # sqrt(12**2 + 9**2)
    assert scores["mean.one_side_empty"] == 1


def test_the_differing_share_is_between_the_second_and_third_branch():
    scores = score_image(torch.stack([block(0, 12), block(0, 3), block(0, 6)]), block(0, 3), BRANCHES)
    assert scores["differing_share"] == pytest.approx(3 / 12)


def test_released_distance_compares_rows_of_the_picture_not_columns():
    # Shifting the block along x changes every row of the picture by two pixels.
    assert score_image(block(3, 4)[None], block(2, 4))["release.row_hausdorff"] == pytest.approx(0.95 * math.sqrt(2))
    # Shifting along y only reorders the rows.
    truth = torch.zeros(12, 9)
    truth[2:6, 1:4] = 1
    assert score_image(truth.roll(2, dims=1)[None], truth)["release.row_hausdorff"] == 0


@pytest.mark.parametrize("num_classes", [2, 3])
def test_what_is_predicted_at_ignored_pixels_changes_no_score(num_classes):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(num_classes, (12, 9), generator=generator).float()
    truth[:, :4] = 255
    predictions = (num_classes - 1) * torch.rand(3, 12, 9, generator=generator)
    others = predictions.clone()
    others[..., :4] = num_classes - 1 - others[..., :4]
    scores = score_image(predictions, truth, BRANCHES, num_classes)
    assert scores == score_image(others, truth, BRANCHES, num_classes)
    assert 0 < scores["mean.dice"] < 1 and scores["differing_share"] > 0


def test_right_on_all_decided_pixels_is_perfect():
    truth = block(2, 4)
    truth[4:8] = 255  # half of the block, and as much beside it
    scores = score_image((block(2, 2) + block(7, 1))[None], truth)
    assert (scores["mean.dice"], scores["mean.iou"], scores["mean.hd95"]) == (1, 1, 0)
    assert scores["release.iou"] == 1 and scores["mean.one_side_empty"] == 0


def test_shares_are_shares_of_the_decided_pixels():
    truth = block(0, 3) + block(6, 6, 255.0)
    scores = score_image(torch.stack([block(0, 12), block(0, 2), block(1, 9)]), truth, BRANCHES)
    assert scores["truth.foreground"] == pytest.approx(3 / 6)
    assert scores["mean.foreground"] == 1
    assert scores["differing_share"] == pytest.approx(5 / 6)  # columns 0 and 2 to 5


def test_an_image_without_decided_pixels_has_no_shares():
    scores = score_image(block(0, 3)[None], block(0, 12, 255.0))
    assert math.isnan(scores["mean.foreground"]) and math.isnan(scores["truth.foreground"])


@pytest.mark.parametrize("value", [2.0, 254.0, 256.0, -1.0, 0.5])
def test_values_that_are_neither_class_nor_ignored_are_refused(value):
    with pytest.raises(InputError, match="values other than the class indices 0 to 1"):
        score_image(block(0, 3)[None], block(0, 3) + block(5, 1, value) + block(7, 2, 255.0))


def test_multi_class_scores_average_over_foreground_classes():
    truth = block(0, 4) + block(4, 4, 2.0)
    prediction = block(0, 4) + block(4, 2, 2.0)  # class 1 right, half of class 2
    scores = score_image(prediction[None], truth, num_classes=3)
    assert scores["mean.dice_class_1"] == 1
    assert scores["mean.dice_class_2"] == pytest.approx(2 / 3)
    assert scores["mean.dice"] == pytest.approx(5 / 6)
    assert not any(name.startswith("release") for name in scores)


def test_excluded_class_does_not_spoil_the_mean_over_classes():
    truth = block(0, 4) + block(4, 4, 2.0)
    scores = score_image(block(1, 4)[None], truth, num_classes=3, empty="exclude")
    assert math.isnan(scores["mean.hd95_class_2"])
    assert scores["mean.hd95"] == scores["mean.hd95_class_1"] == 1


def test_unnamed_branch_is_refused():
    with pytest.raises(InputError, match="'pred' has 3 channels but `branches` names 1"):
        score_image(torch.zeros(3, 12, 9), block(2, 4))


def test_dice_at_the_own_size_by_hand():
    """Half of a 4 x 2 image is foreground; of 8 x 4 pixels, 16 are. The truth there has one column of 4 more."""
    small = block(0, 2, shape=(4, 2))
    truth = block(0, 5, shape=(8, 4))
    assert own_size_dice(small[None], truth, ("mean",))["mean.dice_own_size"] == pytest.approx(2 * 16 / (16 + 20))
    truth[4] = IGNORED_LABEL
    assert own_size_dice(small[None], truth, ("mean",))["mean.dice_own_size"] == 1


def test_soft_labels_are_interpolated_and_whole_classes_are_not():
    """Between classes 0 and 2 a linear blend would be 1; the nearest class never is."""
    coarse = torch.tensor([[0.0, 0.0], [2.0, 2.0]])
    truth = torch.zeros(8, 8)
    truth[4:] = 2
    hard = own_size_dice(coarse[None], truth, ("mean",), num_classes=3, hard_labels=True)
    assert hard == {"mean.dice_own_size": 1}  # class 1 is on neither side
    assert own_size_dice(coarse[None], truth, ("mean",), num_classes=3)["mean.dice_own_size"] < 0.5
