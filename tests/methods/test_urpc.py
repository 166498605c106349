from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from torch import nn

from custom.methods import UncertaintyRectifiedPyramidConsistency
from custom.methods.trainer import Batch, dice_and_cross_entropy
from custom.methods.urpc import rectified_consistency
from custom.networks import PyramidUNet
from tests.methods.conftest import learn, make_trainer, make_unet


class FixedAnswers(nn.Module):
    """Gives the same four answers whatever the images."""

    num_classes = 2

    def __init__(self, answers):
        super().__init__()
        self.answers = nn.Parameter(answers)

    def all_logits(self, images):
        return list(self.answers)


def make_urpc(network, batches=None, **options):
    return make_trainer(UncertaintyRectifiedPyramidConsistency, network, batches or [{}], **options)


def test_two_answers_to_one_pixel_by_hand():
    # p = (0.5, 0.5) and (0.1, 0.9), mean (0.3, 0.7); in a single pixel the factor e^-D cancels.
    answers = [torch.tensor(p).log().reshape(1, 2, 1, 1) for p in ([0.5, 0.5], [0.1, 0.9])]
    uncertainty = [
        0.3 * math.log(0.3 / 0.5) + 0.7 * math.log(0.7 / 0.5),
        0.3 * math.log(0.3 / 0.1) + 0.7 * math.log(0.7 / 0.9),
    ]
    expected = (0.2**2 + uncertainty[0] + 0.2**2 + uncertainty[1]) / 2
    assert rectified_consistency(answers).item() == pytest.approx(expected, abs=1e-6)


def test_four_answers_of_three_classes_equal_the_formula():
    logits = 3 * np.random.default_rng(0).standard_normal((4, 2, 3, 4, 5))
    p = softmax(logits, axis=2)
    mean = p.mean(axis=0)
    losses = []
    for answer in p:
        uncertainty = rel_entr(mean, answer).sum(axis=1)
        weights = np.exp(-uncertainty)
        squares = ((mean - answer) ** 2).mean(axis=1)
        losses.append((squares * weights).mean() / weights.mean() + uncertainty.mean())
    assert rectified_consistency(list(torch.from_numpy(logits))).item() == pytest.approx(np.mean(losses), abs=1e-6)


def test_equal_answers_cost_nothing():
    assert rectified_consistency([torch.tensor([[[[2.0]], [[-1.0]]]])] * 4).item() == pytest.approx(0, abs=1e-6)


def test_a_class_without_any_probability_gives_finite_numbers_and_gradients():
    answers = torch.tensor([0.0, -300.0]).reshape(1, 2, 1, 1).repeat(4, 1, 1, 1, 1).requires_grad_()
    loss = rectified_consistency(list(answers))
    loss.backward()
    assert loss.isfinite() and answers.grad.isfinite().all()


def test_the_loss_is_the_mean_supervised_loss_of_labelled_rows_and_the_consistency_of_the_others():
    torch.manual_seed(0)
    answers = torch.randn(4, 3, 2, 4, 4)
    labels = torch.randint(2, (2, 1, 4, 4)).float()
    loss, terms = make_urpc(FixedAnswers(answers)).loss(Batch(torch.rand(3, 3, 4, 4), labels), 0.3)
    supervised = sum(dice_and_cross_entropy()(answer[:2], labels).item() for answer in answers) / 4
    consistency = rectified_consistency(list(answers[:, 2:])).item()
    assert terms["supervised"].item() == pytest.approx(supervised, abs=1e-6)
    assert terms["consistency"].item() == pytest.approx(consistency, abs=1e-6)
    assert loss.item() == pytest.approx(supervised + 0.3 * consistency, abs=1e-6)


def test_without_unlabelled_images_the_supervised_loss_is_all():
    labels = torch.zeros(1, 1, 4, 4)
    loss, terms = make_urpc(FixedAnswers(torch.randn(4, 1, 2, 4, 4))).loss(Batch(torch.rand(1, 3, 4, 4), labels), 0.3)
    assert loss is terms["supervised"] and list(terms) == ["supervised"]


@pytest.mark.learning
def test_it_learns_to_find_discs():
    learnt = learn(UncertaintyRectifiedPyramidConsistency, PyramidUNet(make_unet()))
    assert learnt.last_loss < learnt.first_loss / 2
    assert learnt.dice > 0.8
