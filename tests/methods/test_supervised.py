from __future__ import annotations

import copy

import pytest
import torch

from custom.methods import Supervised
from tests.methods.conftest import (
    STEP,
    WIDTHS_FOR_THREE_CLASSES,
    learn,
    make_batch,
    make_trainer,
    make_unet,
    run,
)


def loss_by_hand(network, batch):
    """Half cross-entropy, half the Dice loss of the labelled images, in plain formulas."""
    labels = batch["labelled"]["label"][:, 0].long()
    probabilities = network.logits(batch["labelled"]["image"]).softmax(dim=1)
    truth = torch.stack([labels == index for index in range(network.num_classes)], dim=1).float()
    entropy = -(truth * probabilities.log()).sum(dim=1).mean()
    overlap = (probabilities * truth).sum(dim=(0, 2, 3))
    sizes = (probabilities**2).sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    dice = (1 - (2 * overlap + 1e-5) / (sizes + 1e-5)).mean()
    return 0.5 * entropy + 0.5 * dice


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("unlabelled", [0, 2])
def test_an_iteration_equals_the_formula_and_a_step_down_its_gradient(unlabelled, num_classes):
    network, batch = make_unet(num_classes, dropout=False), make_batch(2, unlabelled, num_classes)
    by_hand = copy.deepcopy(network).train()
    (output,) = run(make_trainer(Supervised, network, [batch]))
    loss = loss_by_hand(by_hand, batch)
    loss.backward()
    assert output["loss"] == output["supervised"].item() == pytest.approx(loss.item(), rel=1e-5)
    for (name, parameter), expected in zip(network.named_parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(parameter.data, expected.data - STEP * expected.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_unlabelled_images_change_nothing_not_even_running_statistics():
    batch = make_batch()
    networks = [make_unet(dropout=False) for _ in range(2)]
    run(make_trainer(Supervised, networks[0], [batch]))
    batch["unlabelled"]["image"] = 1 - batch["unlabelled"]["image"]
    run(make_trainer(Supervised, networks[1], [batch]))
    pairs = zip(*(network.state_dict().values() for network in networks), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.learning
def test_a_tiny_set_can_be_learnt():
    learnt = learn(Supervised, make_unet())
    assert learnt.first_loss > 0.4
    assert learnt.last_loss < 0.1
    assert learnt.dice > 0.8


@pytest.mark.learning
def test_three_classes_can_be_learnt():
    learnt = learn(Supervised, make_unet(3, widths=WIDTHS_FOR_THREE_CLASSES), num_classes=3)
    assert learnt.first_loss > 0.6
    assert learnt.last_loss < 0.2
    assert learnt.dice > 0.7
