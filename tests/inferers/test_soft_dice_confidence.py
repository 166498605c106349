from __future__ import annotations

import numpy as np
import pytest

from custom.inferers import soft_dice_confidence


def test_by_hand_for_one_class_and_for_two():
    one = np.array([[[0.9, 0.6], [0.4, 0.1]]])
    assert soft_dice_confidence(one) == pytest.approx(2 * 1.5 / (2.0 + 2))
    # the second class is nowhere the most probable one, and counts from the pixel where it is
    unseen = np.stack([one[0], np.full((2, 2), 0.05)])
    assert soft_dice_confidence(unseen) == pytest.approx(2 * 1.5 / (2.0 + 2))
    two = np.array([[[0.7, 0.1], [0.0, 0.0]], [[0.0, 0.0], [0.8, 0.0]]])
    assert soft_dice_confidence(two) == pytest.approx((2 * 0.7 / (0.8 + 1) + 2 * 0.8 / (0.8 + 1)) / 2)


def test_it_is_zero_where_nothing_is_found_and_one_for_a_certain_mask():
    assert soft_dice_confidence(np.full((1, 4, 4), 0.3)) == 0
    assert soft_dice_confidence(np.zeros((3, 4, 4))) == 0
    assert soft_dice_confidence(np.eye(4)[None]) == 1


def test_it_falls_as_the_prediction_becomes_less_sure():
    sure = np.kron([[0.0, 1.0], [0.0, 0.0]], np.ones((4, 4)))[None]
    confidences = [soft_dice_confidence(0.5 + (sure - 0.5) * share) for share in (1, 0.8, 0.5, 0.2, 0.02)]
    assert confidences == sorted(confidences, reverse=True)
    assert len(set(confidences)) == 5
