from __future__ import annotations

import math

import pytest
import torch

from custom.labels import IGNORED_LABEL
from custom.losses import ClassWeightedLoss, class_weighted_cross_entropy

WEIGHTS = torch.tensor([0.5, 2.0, 3.0])


def of_pixels(*probabilities):
    """Logits [1, K, 1, W] from the probabilities of each pixel."""
    return torch.tensor(probabilities).T[None, :, None].log().requires_grad_()


def labels_of(*classes):
    return torch.tensor(classes).float().reshape(1, 1, 1, -1)


def test_cross_entropy_is_the_weighted_mean_by_hand():
    logits = of_pixels((0.5, 0.3, 0.2), (0.1, 0.8, 0.1), (0.9, 0.05, 0.05))
    value = class_weighted_cross_entropy(logits, labels_of(0, 1, IGNORED_LABEL), WEIGHTS)
    assert value.item() == pytest.approx(-(0.5 * math.log(0.5) + 2 * math.log(0.8)) / 2.5)


@pytest.mark.parametrize("labels", [labels_of(0, 0), labels_of(IGNORED_LABEL, IGNORED_LABEL)])
def test_where_no_pixel_has_a_weight_the_cross_entropy_is_0_with_a_gradient_of_0(labels):
    logits = of_pixels((0.5, 0.5), (0.1, 0.9))
    value = class_weighted_cross_entropy(logits, labels, torch.tensor([0.0, 2.0]))
    value.backward()
    assert value.item() == 0 and not logits.grad.any()


def test_dice_is_that_of_the_foreground_without_squares_and_weighted():
    logits = of_pixels((0.5, 0.3, 0.2), (0.1, 0.8, 0.1))
    first = (2 * 0.8 + 1) / (0.3 + 0.8 + 1 + 1)
    second = 1 / (0.2 + 0.1 + 1)
    expected = (2 * (1 - first) + 3 * (1 - second)) / 2
    assert ClassWeightedLoss(1.0, 0.0)(logits, labels_of(0, 1), WEIGHTS).item() == pytest.approx(expected)


def test_it_is_half_of_both_and_no_weights_are_weights_of_1():
    logits, labels = of_pixels((0.5, 0.3, 0.2), (0.1, 0.8, 0.1)), labels_of(0, 2)
    parts = [ClassWeightedLoss(*weights)(logits, labels, WEIGHTS).item() for weights in ((1, 0), (0, 1))]
    assert ClassWeightedLoss()(logits, labels, WEIGHTS).item() == pytest.approx(sum(parts) / 2)
    torch.testing.assert_close(ClassWeightedLoss()(logits, labels), ClassWeightedLoss()(logits, labels, torch.ones(3)))
