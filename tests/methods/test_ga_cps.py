from __future__ import annotations

import math

import pytest
import torch

from custom.errors import InputError
from custom.losses import gradient_aware_cross_entropy, gradient_aware_dice
from custom.methods import GradientAwareCrossPseudoSupervision
from custom.networks import NetworkPair, UNetPair
from tests.methods.conftest import Table, gradients_of, make_batch, make_trainer, make_unet, run


def two_tables():
    return NetworkPair(
        Table([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]),  # classes 0 and 2
        Table([[0.3, 0.6, 0.1], [0.2, 0.7, 0.1]]),  # class 1 twice
    )


def batch_of(labelled, unlabelled):
    parts = {"labelled": {"image": torch.zeros(labelled, 3, 1, 2), "label": torch.zeros(labelled, 1, 1, 2)}}
    return parts | ({"unlabelled": {"image": torch.zeros(unlabelled, 3, 1, 2)}} if unlabelled else {})


def make_pair():
    return NetworkPair(make_unet(), make_unet(seed=1))


def test_each_network_learns_the_other_ones_classes_from_all_rows_with_the_weight_of_their_number():
    (output,) = run(make_trainer(GradientAwareCrossPseudoSupervision, two_tables(), [batch_of(1, 1)]))
    # Of the four pixels of two images two are of each class, or all of one.
    assert output["cross_first"].item() == pytest.approx(-2 * (math.log(0.2) + math.log(0.3)) / 4)
    assert output["cross_second"].item() == pytest.approx(-2 * (math.log(0.3) + math.log(0.1)) / math.sqrt(2 * 4))
    expected = output["supervised_first"] + output["supervised_second"]
    expected += 0.1 * math.exp(-5) * (output["cross_first"] + output["cross_second"])
    assert output["loss"] == pytest.approx(expected.item())


@pytest.mark.parametrize(("options", "weight", "hardest"), [({}, 0.5, 10), ({"supervised_weight": 1.0}, 1.0, 10)])
def test_the_supervised_loss_is_that_of_the_hardest_labelled_pixels(options, weight, hardest):
    batch, pair = batch_of(1, 0), two_tables()
    logits, labels = pair.first.table.detach(), batch["labelled"]["label"]
    expected = gradient_aware_cross_entropy(logits, labels, hardest) + gradient_aware_dice(logits, labels)
    (output,) = run(make_trainer(GradientAwareCrossPseudoSupervision, pair, [batch], **options))
    assert output["supervised_first"].item() == pytest.approx(weight * expected.item())


def test_pseudo_labels_carry_no_gradient():
    pair = make_pair()
    trainer = make_trainer(GradientAwareCrossPseudoSupervision, pair, [make_batch()])
    reached = gradients_of("cross_first", trainer)
    assert all(reached["first"]) and not any(reached["second"])


def test_labels_only_leave_the_supervised_losses():
    (output,) = run(make_trainer(GradientAwareCrossPseudoSupervision, make_pair(), [make_batch(2, 0)]))
    assert set(output) == {"loss", "consistency_weight", "supervised_first", "supervised_second"}
    assert output["loss"] == pytest.approx(float(output["supervised_first"] + output["supervised_second"]))


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "resnet18"])
def test_it_trains_with_another_encoder(encoder):
    pair = UNetPair(4, encoder=encoder, seed=0)
    (output,) = run(make_trainer(GradientAwareCrossPseudoSupervision, pair, [make_batch(1, 1, 4, size=33)]))
    assert math.isfinite(output["loss"])


def test_a_wrong_option_is_an_input_error():
    with pytest.raises(InputError, match="hardest"):
        make_trainer(GradientAwareCrossPseudoSupervision, make_pair(), [], hardest=0)
