from __future__ import annotations

import math

import pytest
import torch

from custom.errors import InputError
from custom.losses import ClassWeightedLoss, DifficultyWeights
from custom.methods import HeterogeneousCoTraining
from custom.networks import NetworkPair, UNetPair
from tests.methods.conftest import Table, gradients_of, make_batch, make_trainer, make_unet, run

SHARES = [0.7, 0.2, 0.1]
RARE = [0, 3 * math.log(3.5) / math.log(7), 3]  # ln(0.7 / c), as shares of the largest one


def two_tables():
    return NetworkPair(
        Table([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]),  # classes 0 and 2
        Table([[0.3, 0.6, 0.1], [0.2, 0.1, 0.7]]),  # classes 1 and 2
    )


def batch_of(unlabelled):
    labels = torch.tensor([0.0, 2.0]).reshape(1, 1, 1, 2)
    parts = {"labelled": {"image": torch.zeros(1, 3, 1, 2), "label": labels}}
    return parts | ({"unlabelled": {"image": torch.zeros(1, 3, 1, 2)}} if unlabelled else {})


def test_an_iteration_equals_the_formulas():
    pair, batch = two_tables(), batch_of(1)
    first, second = pair.first.table.detach().clone(), pair.second.table.detach().clone()
    labels = batch["labelled"]["label"]
    (output,) = run(make_trainer(HeterogeneousCoTraining, pair, [batch], class_shares=SHARES, floor=0))
    difficult = DifficultyWeights(3).update(first, labels)  # of this iteration
    rare = torch.tensor(RARE)  # classes 1 and 2 of the pseudo-labels are equally frequent: nothing moves
    w = difficult.tolist()
    assert w[1] == 3 and w[0] == w[2] < 3  # class 1, which is not there, keeps the largest
    expected = {
        "supervised_first": ClassWeightedLoss()(first, labels, difficult).item(),
        "supervised_second": ClassWeightedLoss()(second, labels, rare).item(),
        "cross_first": -(w[1] * math.log(0.2) + w[2] * math.log(0.6)) / (w[1] + w[2]),
        "cross_second": -math.log(0.7),  # its pseudo-labels are 0, without weight, and 2
    }
    assert {name: output[name].item() for name in expected} == pytest.approx(expected, rel=1e-5)
    total = expected["supervised_first"] + expected["supervised_second"]
    total += 0.1 * math.exp(-5) * (expected["cross_first"] + expected["cross_second"])
    assert output["loss"] == pytest.approx(total, rel=1e-5)


def test_weights_of_rarity_follow_the_second_networks_pseudo_labels_of_unlabelled_rows():
    pair = NetworkPair(two_tables().first, Table([[0.8, 0.1, 0.1], [0.7, 0.1, 0.2]]))
    trainer = make_trainer(HeterogeneousCoTraining, pair, [batch_of(1)], class_shares=SHARES, floor=0)
    run(trainer)
    assert trainer.distribution.counts[0].tolist() == [2, 0, 0]
    assert trainer.distribution.weights().tolist() == pytest.approx(RARE, rel=1e-5)


def test_the_supervised_weight_and_the_floor_are_options():
    losses = []
    for options in ({}, {"supervised_weight": 1.0}, {"floor": 0.5}, {"floor": 0.1}, {"floor": 0}):
        arguments = {"class_shares": SHARES, **options}
        losses += run(make_trainer(HeterogeneousCoTraining, two_tables(), [batch_of(0)], **arguments))
    assert losses[1]["loss"] == pytest.approx(2 * losses[0]["loss"])
    second = two_tables().second.table.detach()
    lifted = ClassWeightedLoss()(second, batch_of(0)["labelled"]["label"], torch.tensor(RARE).clamp_min(1.5))
    assert losses[2]["supervised_second"].item() == pytest.approx(lifted.item())
    assert losses[0] == losses[3] != losses[4]  # by default the most frequent class has a weight


def test_pseudo_labels_carry_no_gradient():
    pair = NetworkPair(make_unet(), make_unet(seed=1))
    trainer = make_trainer(HeterogeneousCoTraining, pair, [make_batch()])
    reached = gradients_of("cross_first", trainer)
    assert all(reached["first"]) and not any(reached["second"])


def test_a_batch_without_lesion_and_without_unlabelled_images_does_no_harm():
    pair = NetworkPair(make_unet(), make_unet(seed=1))
    batch = make_batch(2, 0)
    batch["labelled"]["label"].zero_()
    (output,) = run(make_trainer(HeterogeneousCoTraining, pair, [batch], class_shares=[0.9, 0.1]))
    assert set(output) == {"loss", "consistency_weight", "supervised_first", "supervised_second"}
    assert math.isfinite(output["loss"])
    assert all(parameter.isfinite().all() for parameter in pair.parameters())


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "resnet18"])
def test_it_trains_with_another_encoder(encoder):
    pair = UNetPair(4, encoder=encoder, seed=0)
    (output,) = run(make_trainer(HeterogeneousCoTraining, pair, [make_batch(1, 1, 4, size=33)]))
    assert math.isfinite(output["loss"])


@pytest.mark.parametrize("wrong", [{"class_shares": [1.0]}, {"floor": -1}, {"window": 0}])
def test_a_wrong_option_is_an_input_error(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        make_trainer(HeterogeneousCoTraining, two_tables(), [], **wrong)
