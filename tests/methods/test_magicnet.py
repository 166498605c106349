from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from custom.errors import InputError
from custom.losses import gradient_aware_cross_entropy, gradient_aware_dice
from custom.methods import GradientAwareMagicNet, MagicNet
from custom.methods.magicnet import PseudoLabelShares
from custom.methods.trainer import dice_and_cross_entropy
from custom.networks import UNetWithCellLocations
from tests.methods.conftest import WIDTHS, make_batch, make_trainer, run

PLAIN = [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]]  # probabilities of two pixels
MIXED = [[0.6, 0.2, 0.2], [0.3, 0.3, 0.4]]
CELLS = [[0.1, 0.1, 0.8], [0.2, 0.7, 0.1]]
TEACHER = [[0.5, 0.2, 0.3], [0.6, 0.3, 0.1]]


def of_pixels(probabilities):
    return torch.tensor(probabilities).T[None, :, None].log()


class Answers(nn.Module):
    """Stands for the networks: each prediction is a table of its own, whatever the image."""

    num_classes, cells = 3, 2

    def __init__(self):
        super().__init__()
        tables = {"plain": PLAIN, "mixed": MIXED, "cells": CELLS, "teacher": TEACHER}
        self.tables = nn.ParameterDict({name: of_pixels(rows) for name, rows in tables.items()})
        self.place = nn.Parameter(torch.tensor([0.0, 1.0, 0.0, 0.0]))
        self.student, self.teacher = _Table(self.tables["plain"]), _Table(self.tables["teacher"])
        self.orders = []

    def mixed_logits(self, images, order):
        self.orders.append(order)
        return self.tables["mixed"].expand(len(images), -1, -1, -1)

    def cell_logits(self, images):
        return self.tables["cells"].expand(len(images), -1, -1, -1), self.place.expand(4 * len(images), -1)

    def update_teacher(self):
        pass


class _Table(nn.Module):
    def __init__(self, table):
        super().__init__()
        self.table = table

    def logits(self, images):
        return self.table.expand(len(images), -1, -1, -1)


def batch_of(unlabelled):
    parts = {"labelled": {"image": torch.zeros(1, 3, 1, 2), "label": torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)}}
    return parts | ({"unlabelled": {"image": torch.zeros(1, 3, 1, 2)}} if unlabelled else {})


def train_once(method=MagicNet, unlabelled=1, shares=(0.0, 0.0, 0.0), **options):
    trainer = make_trainer(method, Answers(), [batch_of(unlabelled)], blend_start=0.0, **options)
    trainer.shares.shares.copy_(torch.tensor(shares))
    (output,) = run(trainer)
    return output, trainer


def dice(probabilities, *classes):
    return dice_and_cross_entropy(1.0, 0.0)(of_pixels(probabilities), labels_of(*classes)).item()


def labels_of(*classes):
    return torch.tensor(classes).float().reshape(1, 1, 1, -1)


def test_the_supervised_loss_is_the_mean_of_four_and_of_three_without_cells():
    both = -(math.log(0.5) + math.log(0.8)) / 2 + dice(PLAIN, 0, 1) + dice(MIXED, 0, 1)
    output, _ = train_once()
    assert output["supervised"].item() == pytest.approx((both + dice(CELLS, 0, 1)) / 4)
    output, _ = train_once(cell_branch=False)
    assert output["supervised"].item() == pytest.approx(both / 3)
    assert "location" not in output


def test_the_places_of_all_cells_are_asked_for():
    output, _ = train_once(unlabelled=0)
    odds = 3 + math.e  # of four places, one of which is called with a logit of 1
    assert output["location"].item() == pytest.approx((3 * math.log(odds) + math.log(odds) - 1) / 4)
    assert output["loss"] == pytest.approx((output["supervised"] + 0.1 * output["location"]).item())
    assert set(output) == {"loss", "consistency_weight", "supervised", "location"}


@pytest.mark.parametrize(
    ("shares", "classes"),
    [
        ((0.0, 0.0, 0.0), (0, 0)),  # the teacher alone
        ((1.0, 0.0, 0.0), (2, 1)),  # its class is frequent at both pixels: the cells alone
        ((0.5, 0.0, 0.0), (2, 1)),  # 0.3 * 0.8 > 0.5 * 0.1, and 0.3 * 0.7 > 0.6 * 0.2, under the root
    ],
)
def test_frequent_classes_of_the_teacher_follow_the_cells(shares, classes):
    output, _ = train_once(shares=shares)
    assert output["consistency"].item() == pytest.approx(dice(MIXED, *classes))
    total = output["supervised"] + 0.1 * output["location"] + 0.1 * math.exp(-5) * output["consistency"]
    assert output["loss"] == pytest.approx(total.item())


def test_before_their_start_and_without_cells_pseudo_labels_are_the_teachers():
    for options in ({"cell_branch": False}, {}):
        trainer = make_trainer(MagicNet, Answers(), [batch_of(1)], **{"blend_start": 1.0, **options})
        trainer.shares.shares.fill_(1.0)
        (output,) = run(trainer)
        assert output["consistency"].item() == pytest.approx(dice(MIXED, 0, 0))


def test_the_release_of_2023_blends_cells_of_labelled_images():
    networks = Answers()
    found = {}
    for rows in ("unlabelled", "released_2023"):
        trainer = make_trainer(MagicNet, networks, [], blend_start=0.0, blended_cells=rows)
        trainer.shares.shares.fill_(1.0)
        trainer.state.epoch_length, trainer.state.max_epochs, trainer.state.iteration = 1, 1, 1
        batch = type("Rows", (), {"images": torch.zeros(2, 3, 1, 2), "labelled": 1, "unlabelled": 1})
        logits = torch.cat([of_pixels(PLAIN), of_pixels(CELLS)])
        found[rows] = trainer._pseudo_labels(batch, logits).flatten().tolist()
    assert found == {"unlabelled": [2, 1], "released_2023": [0, 1]}


def test_shares_are_renewed_after_a_period():
    shares = PseudoLabelShares(3, period=2)
    shares.update(torch.tensor([0, 0, 0, 1]))
    assert shares.shares.tolist() == [0, 0, 0]
    shares.update(torch.tensor([0, 1, 2, 0]))
    assert shares.shares.tolist() == pytest.approx([1, 0.4, 0.2])
    shares.update(torch.tensor([2]))
    assert shares.counts.tolist() == [0, 0, 1]


def test_every_place_has_a_permutation_of_the_images():
    _, trainer = train_once()
    (order,) = trainer.network.orders
    assert order.sort(dim=1).values.tolist() == [[0, 1]] * 4


def test_with_gradient_aware_losses_it_is_ga_magicnet():
    labels = labels_of(0, 1)
    output, _ = train_once(GradientAwareMagicNet, hardest=50.0)
    expected = gradient_aware_cross_entropy(of_pixels(PLAIN), labels, 50)
    expected += sum(gradient_aware_dice(of_pixels(each), labels) for each in (PLAIN, MIXED, CELLS))
    assert output["supervised"].item() == pytest.approx(expected.item() / 4)
    consistency = gradient_aware_dice(of_pixels(MIXED), labels_of(0, 0))
    assert output["consistency"].item() == pytest.approx(consistency.item())


def test_cells_and_mixtures_move_no_running_average_and_no_gradient_reaches_the_teacher():
    networks = UNetWithCellLocations(2, widths=WIDTHS, cells=2, location_width=8, seed=0)
    norms = [module for module in networks.student.modules() if isinstance(module, nn.BatchNorm2d)]
    before = []
    forward = networks.mixed_logits

    def watched(*inputs):
        before.extend(norm.running_mean.clone() for norm in norms)
        return forward(*inputs)

    networks.mixed_logits = watched
    run(make_trainer(MagicNet, networks, [make_batch(size=32)]))
    assert all(torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True))
    assert all(parameter.grad is None for parameter in networks.teacher.parameters())


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "resnet18"])
def test_it_trains_with_another_encoder(encoder):
    networks = UNetWithCellLocations(4, encoder=encoder, cells=2, seed=0)
    (output,) = run(make_trainer(MagicNet, networks, [make_batch(1, 1, 4, size=65)]))
    assert math.isfinite(output["loss"])


@pytest.mark.parametrize("wrong", [{"blended_cells": "labelled"}, {"blend_start": 2.0}])
def test_a_wrong_option_is_an_input_error(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        make_trainer(MagicNet, Answers(), [], **wrong)
