from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import one_hot

from custom.labels import IGNORED_LABEL
from custom.losses import soft_target_loss
from custom.methods.trainer import dice_and_cross_entropy

ALL = torch.ones(1, 1, 1, 2, dtype=torch.bool)


def of_pixels(*probabilities):
    """[1, K, 1, W] from the probabilities of each pixel."""
    return torch.tensor(probabilities).T[None, :, None]


def test_it_is_the_mean_of_cross_entropy_and_dice_by_hand():
    predicted, targets = of_pixels((0.5, 0.5), (0.8, 0.2)), of_pixels((0.75, 0.25), (0.2, 0.8))
    cross_entropy = -(math.log(0.5) + 0.2 * math.log(0.8) + 0.8 * math.log(0.2)) / 2
    background = 2 * (0.5 * 0.75 + 0.8 * 0.2) / (0.5**2 + 0.8**2 + 0.75**2 + 0.2**2)
    foreground = 2 * (0.5 * 0.25 + 0.2 * 0.8) / (0.5**2 + 0.2**2 + 0.25**2 + 0.8**2)
    expected = (cross_entropy + 1 - (background + foreground) / 2) / 2
    assert soft_target_loss(predicted.log(), targets, ALL).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_for_classes_it_is_the_supervised_loss_and_pixels_that_do_not_count_are_ignored_ones(num_classes):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, num_classes, 8, 8, generator=generator)
    labels = torch.randint(num_classes, (2, 1, 8, 8), generator=generator)
    targets = one_hot(labels[:, 0], num_classes).movedim(-1, 1).float()
    counted = torch.rand(labels.shape, generator=generator) < 0.7
    supervised = dice_and_cross_entropy()(logits, labels.float().where(counted, IGNORED_LABEL))
    torch.testing.assert_close(soft_target_loss(logits, targets, counted), supervised)


def test_the_targets_themselves_are_the_best_prediction():
    targets = of_pixels((0.7, 0.3), (0.1, 0.9))
    logits = targets.log().requires_grad_()
    soft_target_loss(logits, targets, ALL).backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), rtol=0, atol=1e-5)


def test_nothing_that_counts_gives_a_loss_and_gradient_of_0():
    logits = torch.randn(1, 2, 1, 2, requires_grad=True)
    loss = soft_target_loss(logits, torch.zeros(1, 2, 1, 2), ~ALL)
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()
