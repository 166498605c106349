from __future__ import annotations

import copy
import math

import pytest
import torch

from custom.losses import ConsistencyWeight
from custom.methods import CrossPseudoSupervision
from custom.methods.trainer import dice_and_cross_entropy
from custom.networks import NetworkPair
from tests.methods.conftest import (
    STEP,
    Table,
    dice_of,
    learn,
    make_batch,
    make_trainer,
    make_unet,
    run,
)

HEAVY = ConsistencyWeight(beta=200)  # so large that its gradient shows: 1.35 in the first iteration of one


def make_pair(num_classes=2, **arguments):
    return NetworkPair(make_unet(num_classes, **arguments), make_unet(num_classes, seed=1, **arguments))


def cross_entropy_by_hand(answers, classes):
    """Minus the mean logarithm of the probability of each pixel's class, [B, W, H]."""
    return -answers.softmax(dim=1).gather(1, classes[:, None]).log().mean()


def loss_by_hand(pair, batch):
    supervised, unlabelled = [], []
    for network in (pair.first, pair.second):
        answers = network.logits(torch.cat([part["image"] for part in batch.values()]))
        count = len(batch["labelled"]["label"])
        supervised.append(dice_and_cross_entropy()(answers[:count], batch["labelled"]["label"]))
        unlabelled.append(answers[count:])
    pseudo = [answers.detach().argmax(dim=1) for answers in unlabelled]
    terms = {
        "supervised_first": supervised[0],
        "supervised_second": supervised[1],
        "cross_first": cross_entropy_by_hand(unlabelled[0], pseudo[1]),
        "cross_second": cross_entropy_by_hand(unlabelled[1], pseudo[0]),
    }
    weight = 200 * math.exp(-5)
    return terms, sum(supervised) + weight * (terms["cross_first"] + terms["cross_second"])


@pytest.mark.parametrize("num_classes", [2, 3])
def test_an_iteration_equals_the_formulas_and_a_step_down_their_gradient(num_classes):
    pair, batch = make_pair(num_classes, dropout=False), make_batch(2, 3, num_classes)
    by_hand = copy.deepcopy(pair).train()
    (output,) = run(make_trainer(CrossPseudoSupervision, pair, [batch], consistency_weight=HEAVY))
    terms, loss = loss_by_hand(by_hand, batch)
    loss.backward()
    assert {name: output[name].item() for name in terms} == pytest.approx(
        {name: term.item() for name, term in terms.items()}, rel=1e-5
    )
    assert output["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for (name, parameter), expected in zip(pair.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(parameter.data, expected.data - STEP * expected.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_each_network_is_asked_for_the_other_ones_hard_answer():
    pair = NetworkPair(
        Table([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]),  # classes 0 and 2
        Table([[0.3, 0.6, 0.1], [0.2, 0.1, 0.7]]),  # classes 1 and 2
    )
    batch = {
        "labelled": {"image": torch.zeros(1, 3, 1, 2), "label": torch.zeros(1, 1, 1, 2)},
        "unlabelled": {"image": torch.zeros(1, 3, 1, 2)},
    }
    (output,) = run(make_trainer(CrossPseudoSupervision, pair, [batch]))
    assert output["cross_first"].item() == pytest.approx(-(math.log(0.2) + math.log(0.6)) / 2)
    assert output["cross_second"].item() == pytest.approx(-(math.log(0.3) + math.log(0.7)) / 2)


def test_pseudo_labels_carry_no_gradient():
    pair = make_pair()
    trainer = make_trainer(CrossPseudoSupervision, pair, [make_batch()])
    kept = {}

    def step(batch, weight):
        loss, terms = trainer.loss(batch, weight)
        terms["cross_first"].backward(retain_graph=True)
        kept["second"] = [parameter.grad for parameter in pair.second.parameters()]
        kept["first"] = [parameter.grad for parameter in pair.first.parameters()]
        return loss, terms

    pair.zero_grad(set_to_none=True)
    trainer.step = step
    run(trainer)
    assert all(gradient is None for gradient in kept["second"])
    assert all(gradient is not None for gradient in kept["first"])


def test_labels_only_leave_the_supervised_losses():
    (output,) = run(make_trainer(CrossPseudoSupervision, make_pair(), [make_batch(2, 0)]))
    assert set(output) == {"loss", "consistency_weight", "supervised_first", "supervised_second"}
    assert output["loss"] == pytest.approx(float(output["supervised_first"] + output["supervised_second"]))


@pytest.mark.learning
def test_both_networks_can_learn_a_tiny_set():
    pair = make_pair()
    learnt = learn(CrossPseudoSupervision, pair)
    assert learnt.first_loss > 0.8
    assert learnt.last_loss < 0.2
    assert learnt.dice == dice_of(pair.first) > 0.8
    assert dice_of(pair.second) > 0.8
    crossing = [float(output["cross_first"] + output["cross_second"]) for output in learnt.outputs]
    assert max(crossing[-4:]) < 0.2 * crossing[0]
