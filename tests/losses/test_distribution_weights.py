from __future__ import annotations

import math

import pytest
import torch

from custom.errors import InputError
from custom.losses import DistributionWeights


def labels_of(*counts):
    """That many pixels of each class."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))[None]


def test_the_first_weights_are_those_of_the_labels():
    found = DistributionWeights(3, shares=[0.8, 0.15, 0.05]).weights().tolist()
    assert found == pytest.approx([0, 3 * math.log(0.8 / 0.15) / math.log(0.8 / 0.05), 3], abs=1e-6)


def test_two_classes_have_the_weights_0_and_2_and_a_floor_lifts_them():
    assert DistributionWeights(2, shares=[9, 1]).weights().tolist() == [0, 2]
    assert DistributionWeights(2, shares=[9, 1], floor=0.1).weights().tolist() == pytest.approx([0.2, 2])
    assert DistributionWeights(2).weights().tolist() == [2, 2]


@pytest.mark.parametrize("window", [1, 2])
def test_updates_by_hand(window):
    weights = DistributionWeights(3, shares=[0.8, 0.15, 0.05], window=window)
    expected = weights.weights()[1].item()
    for counts in ((16, 4, 1), (8, 2, 2), (4, 2, 1)):
        found = weights.update(labels_of(*counts)).tolist()
    for batches in ([(16, 4, 1)], [(16, 4, 1), (8, 2, 2)], [(8, 2, 2), (4, 2, 1)]):
        most, middle, least = (sum(numbers) for numbers in zip(*batches[-window:], strict=True))
        expected = 0.99 * expected + 0.01 * 3 * math.log(most / middle) / math.log(most / least)
    assert found == pytest.approx([0, expected, 3], rel=1e-5, abs=1e-5)


def test_an_absent_class_keeps_its_weight_and_the_background_alone_moves_nothing():
    weights = DistributionWeights(3, shares=[0.8, 0.15, 0.05], window=1)
    before = weights.weights()
    after = weights.update(labels_of(8, 0, 4))
    assert after[1] == before[1]
    assert torch.equal(weights.update(labels_of(9, 0, 0)), after)
    assert torch.equal(weights.update(labels_of(3, 3, 3)), after)


def test_its_state_continues():
    one, other = DistributionWeights(3, shares=[3, 2, 1]), DistributionWeights(3)
    one.update(labels_of(5, 2, 1))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.update(labels_of(4, 3, 1)), other.update(labels_of(4, 3, 1)))


@pytest.mark.parametrize(
    "wrong", [{"shares": [1.0]}, {"shares": [0, 0]}, {"shares": [-1, 2]}, {"floor": 2}, {"window": 0}]
)
def test_a_wrong_value_is_an_input_error(wrong):
    with pytest.raises(InputError, match="class_shares|floor|window"):
        DistributionWeights(2, **wrong)
