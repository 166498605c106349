from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import one_hot

from custom.labels import IGNORED_LABEL
from custom.losses import DifficultyWeights


def predictions(*classes, num_classes=2):
    return one_hot(torch.tensor(classes), num_classes).T.float()[None, :, None]


def labels_of(*classes):
    return torch.tensor(classes).float().reshape(1, 1, 1, -1)


@pytest.mark.parametrize("normalised", [True, False])
def test_two_updates_by_hand(normalised):
    weights = DifficultyWeights(2, normalised)
    assert weights.weights().tolist() == [2, 2]
    weights.update(predictions(0, 0, 0, 1), labels_of(0, 0, 0, 0))  # Dice 6/7 and 0, but for the smoothing
    found = weights.update(predictions(0, 0, 1, 1), labels_of(0, 0, 0, 1)).tolist()  # 4/5 and 2/3
    scores = []
    for first, second in (((6 + 1e-8) / (7 + 2e-8), 4 / 5), (1e-8 / (1 + 2e-8), 2 / 3)):
        learn = unlearn = 0.0
        for before, after in ((1e-8, first), (first, second)):
            gain = (after - before) * math.log(after / before)
            learn = 0.98 * learn + 0.02 * gain * (after > before)
            unlearn = 0.98 * unlearn + 0.02 * gain * (after <= before)
        error = 0.98 * (0.98 + 0.02 * (1 - first)) + 0.02 * (1 - second)
        scores.append(((unlearn + 1e-8) / (learn + 1e-8)) ** 0.2 * error)
    largest = max(scores) if normalised else 1
    assert found == pytest.approx([2 * score / largest for score in scores], rel=1e-3)


def test_a_class_neither_predicted_nor_labelled_and_ignored_pixels_change_nothing():
    weights = DifficultyWeights(3)
    weights.update(predictions(0, 1, 2, 2, num_classes=3), labels_of(0, 1, 2, 1))
    before = [buffer.clone() for buffer in weights.buffers()]
    weights.update(predictions(0, 1, 2, num_classes=3), labels_of(0, 0, IGNORED_LABEL))
    for old, new in zip(before, weights.buffers(), strict=True):
        assert (old != new).tolist() == [True, True, False]


def test_its_state_continues():
    one, other = DifficultyWeights(2), DifficultyWeights(2)
    one.update(predictions(0, 1), labels_of(0, 0))
    other.load_state_dict(one.state_dict())
    step = predictions(1, 1), labels_of(0, 1)
    assert torch.equal(one.update(*step), other.update(*step))
