from __future__ import annotations

import torch

from custom.transforms import SplitBranchesd


def soft_labels(*channels):
    """Each channel a row of pixels, [branches, 1, pixels]."""
    return torch.tensor(channels, dtype=torch.float32)[:, None]


def test_the_key_keeps_the_prediction_of_the_model_alone():
    item = SplitBranchesd("pred")({"pred": soft_labels([0.5, 0.7], [0.2, 0.6], [0.8, 0.8])})
    assert torch.equal(item["pred"], soft_labels([0.5, 0.7]))


def test_disagreement_is_the_difference_of_the_branches():
    item = SplitBranchesd("pred")({"pred": soft_labels([0.5, 0.75], [0.25, 0.75], [0.75, 0.75])})
    assert torch.equal(item["disagreement"], soft_labels([0.5, 0.0]))


def test_disagreement_of_three_branches_is_the_largest_difference_and_leaves_their_mean_out():
    item = SplitBranchesd("pred")({"pred": soft_labels([9.0], [0.25], [1.0], [0.5])})
    assert item["disagreement"].item() == 0.75


def test_probability_and_disagreement_of_three_classes_lie_in_0_and_1():
    item = SplitBranchesd("pred", num_classes=3)({"pred": soft_labels([1.0, 2.0], [0.0, 2.0], [2.0, 2.0])})
    assert torch.equal(item["probability"], soft_labels([0.5, 1.0]))
    assert torch.equal(item["disagreement"], soft_labels([1.0, 0.0]))
    assert torch.equal(item["pred"], soft_labels([1.0, 2.0]))


def test_a_model_without_branches_disagrees_nowhere():
    item = SplitBranchesd("pred")({"pred": soft_labels([0.5, 0.7])})
    assert torch.equal(item["disagreement"], soft_labels([0.0, 0.0]))


def test_the_given_item_stays_as_it_was():
    given = {"pred": soft_labels([0.5], [0.4], [0.6]), "name": "a"}
    item = SplitBranchesd("pred")(given)
    assert given["pred"].shape == (3, 1, 1)
    assert given.keys() == {"pred", "name"}
    assert item["name"] == "a"


def test_branches_of_classes_without_an_order_differ_or_agree():
    pred = soft_labels([0, 3, 1, 2, 1], [0, 3, 1, 2, 0], [0, 3, 3, 1, 1])
    item = SplitBranchesd("pred", num_classes=4, hard_labels=True)({"pred": pred})
    assert torch.equal(item["disagreement"], soft_labels([0, 0, 1, 1, 1]))
    assert torch.equal(item["probability"], soft_labels([0, 1, 0.5, 0.5, 0.5]))
    assert torch.equal(item["pred"], pred[:1])


def test_a_single_prediction_without_an_order_is_as_with_one():
    pred = soft_labels([0, 1, 3])
    items = [SplitBranchesd("pred", 4, hard_labels)({"pred": pred}) for hard_labels in (False, True)]
    assert all(torch.equal(items[0][key], items[1][key]) for key in ("pred", "probability", "disagreement"))
