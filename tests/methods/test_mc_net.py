from __future__ import annotations

import copy
import math

import pytest
import torch

from custom.losses import ConsistencyWeight
from custom.methods import MutualConsistency
from custom.methods.mc_net import sharpen
from tests.methods.conftest import STEP, learn, make_batch, make_trainer, make_unet, run

HEAVY = ConsistencyWeight(beta=200)  # so large that its gradient shows: 1.35 in the first iteration of one
TWO = ("bilinear", "transposed")


def make_network(num_classes=2, upsampling=TWO, **arguments):
    return make_unet(num_classes, upsampling=upsampling, **arguments)


# Sharpening


def test_sharpening_raises_odds_to_the_tenth_power():
    p = torch.tensor([0.0, 0.1, 0.4, 0.5, 0.6, 0.9, 1.0])
    tenth = 1.5**10  # odds of 0.6
    expected = [0, 1 / (1 + 9**10), 1 / (1 + tenth), 0.5, tenth / (1 + tenth), 9**10 / (1 + 9**10), 1]
    torch.testing.assert_close(sharpen(p), torch.tensor(expected, dtype=torch.float32))


def test_a_temperature_of_1_leaves_probabilities_as_they_are_and_of_a_half_squares_their_odds():
    p = torch.tensor([0.1, 0.5, 0.8])
    torch.testing.assert_close(sharpen(p, 1.0), p)
    torch.testing.assert_close(sharpen(p, 0.5), torch.tensor([1 / 82, 0.5, 16 / 17]))


def test_the_gradient_of_a_sharpened_probability_is_finite_everywhere():
    p = torch.tensor([0.0, 1e-30, 0.5, 1 - 1e-7, 1.0], requires_grad=True)
    sharpen(p).sum().backward()
    # in the middle the slope is the power; at the ends there is none
    torch.testing.assert_close(p.grad, torch.tensor([0.0, 0.0, 10.0, 0.0, 0.0]))


# The loss


def half_dice_by_hand(logits, labels):
    """Half of the Dice loss, each class over the whole batch, squared denominators, the mean over classes."""
    p, total = logits.softmax(dim=1), 0.0
    for index in range(p.shape[1]):
        g = (labels[:, 0] == index).float()
        sizes = (p[:, index] ** 2).sum() + (g**2).sum()
        total += 1 - (2 * (p[:, index] * g).sum() + 1e-5) / (sizes + 1e-5)
    return 0.5 * total / p.shape[1]


def loss_by_hand(network, batch, through=True):
    """The terms and the loss; `through` lets gradients pass through the sharpened answers."""
    images, labels = torch.cat([part["image"] for part in batch.values()]), batch["labelled"]["label"]
    answers = network.all_logits(images)
    supervised = sum(half_dice_by_hand(logits[: len(labels)], labels) for logits in answers)
    p = [logits.softmax(dim=1) for logits in answers]
    sharp = [q**10 / (q**10 + (1 - q) ** 10) for q in (p if through else [q.detach() for q in p])]
    pairs = [(i, j) for i in range(len(p)) for j in range(len(p)) if i != j]
    consistency = sum(((p[i] - sharp[j]) ** 2).sum() / p[i].numel() for i, j in pairs)
    return {"supervised": supervised, "consistency": consistency}, supervised + 200 * math.exp(-5) * consistency


CASES = {
    "two classes": (2, 2, TWO),
    "three classes": (3, 3, TWO),
    "labels only": (2, 0, TWO),
    "three decoders": (2, 1, (*TWO, "bilinear")),
}


@pytest.mark.parametrize(("num_classes", "unlabelled", "upsampling"), CASES.values(), ids=CASES)
def test_an_iteration_equals_the_formulas_and_a_step_down_their_gradient(num_classes, unlabelled, upsampling):
    network, batch = make_network(num_classes, upsampling, dropout=False), make_batch(2, unlabelled, num_classes)
    by_hand = copy.deepcopy(network).train()
    (output,) = run(make_trainer(MutualConsistency, network, [batch], consistency_weight=HEAVY))
    terms, loss = loss_by_hand(by_hand, batch)
    loss.backward()
    assert {name: output[name].item() for name in terms} == pytest.approx(
        {name: term.item() for name, term in terms.items()}, rel=1e-5
    )
    assert output["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for (name, parameter), expected in zip(network.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(parameter.data, expected.data - STEP * expected.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_gradients_go_through_the_sharpened_answer_too():
    network, batch = make_network(dropout=False), make_batch()
    by_hand = copy.deepcopy(network).train()
    run(make_trainer(MutualConsistency, network, [batch], consistency_weight=HEAVY, learning_rate=0.0))
    learnt = network.heads[1].weight.grad
    gradients = {}
    for through in (True, False):
        _, loss = loss_by_hand(by_hand, batch, through)
        (gradients[through],) = torch.autograd.grad(loss, by_hand.heads[1].weight)
    torch.testing.assert_close(learnt, gradients[True], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(learnt, gradients[False], rtol=1e-2)


def test_decoders_that_agree_and_are_sure_are_consistent():
    network = make_network(dropout=False)
    for head in network.heads:
        head.weight.data.zero_()
        head.bias.data = torch.tensor([0.0, 20.0])
    (output,) = run(make_trainer(MutualConsistency, network, [make_batch()]))
    assert output["consistency"].item() == pytest.approx(0, abs=1e-12)


def test_decoders_that_are_unsure_differ_from_their_sharpened_answers():
    network = make_network(dropout=False)
    for head in network.heads:
        head.weight.data.zero_()
        head.bias.data = torch.tensor([0.0, math.log(1.5)])  # p = 0.4 and 0.6 everywhere
    (output,) = run(make_trainer(MutualConsistency, network, [make_batch()]))
    sharp = 1.5**10 / (1 + 1.5**10)
    assert output["consistency"].item() == pytest.approx(2 * (sharp - 0.6) ** 2, rel=1e-4)


def test_temperature_and_supervised_loss_may_be_chosen():
    network, batch = make_network(dropout=False), make_batch()
    options = {"temperature": 1.0, "loss_function": lambda logits, labels: logits.sum() * 0 + 7}
    by_hand = copy.deepcopy(network).train()
    (output,) = run(make_trainer(MutualConsistency, network, [batch], **options))
    one, other = (
        logits.softmax(dim=1)
        for logits in by_hand.all_logits(torch.cat([batch["labelled"]["image"], batch["unlabelled"]["image"]]))
    )
    assert output["supervised"].item() == 14
    assert output["consistency"].item() == pytest.approx(2 * ((one - other) ** 2).mean().item(), rel=1e-4)


# Training


@pytest.mark.learning
def test_a_tiny_set_can_be_learnt():
    network = make_network()
    learnt = learn(MutualConsistency, network, epochs=20)
    assert learnt.first_loss > 0.3
    assert learnt.last_loss < 0.1
    assert learnt.dice > 0.8
    assert learnt.outputs[-1]["consistency"] < 0.5 * learnt.outputs[0]["consistency"]
