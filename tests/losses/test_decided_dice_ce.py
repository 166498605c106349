from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss

from custom.labels import IGNORED_LABEL
from custom.methods.trainer import dice_and_cross_entropy

SETTINGS = {"softmax": True, "squared_pred": True, "batch": True, "smooth_nr": 1e-5, "smooth_dr": 1e-5}
WEIGHTS = [(0.5, 0.5), (1.0, 1.0), (0.5, 0.0)]


def make_pair(num_classes=2, seed=0):
    """Logits [2, K, 8, 6] that ask for a gradient, and class indices [2, 1, 8, 6]."""
    generator = torch.Generator().manual_seed(seed)
    logits = (3 * torch.randn(2, num_classes, 8, 6, generator=generator)).requires_grad_()
    return logits, torch.randint(num_classes, (2, 1, 8, 6), generator=generator).float()


def with_ignored(labels):
    """The labels with a column of the first image undecided, and half of the second one."""
    labels = labels.clone()
    labels[0, :, :, 2], labels[1, :, 4:] = IGNORED_LABEL, IGNORED_LABEL
    return labels


def loss_and_gradient(loss, logits, labels):
    value = loss(logits, labels)
    return value.detach(), torch.autograd.grad(value, logits)[0]


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize(("dice", "cross_entropy"), WEIGHTS)
def test_without_ignored_pixels_it_is_monais_loss_to_the_last_bit(num_classes, dice, cross_entropy):
    logits, labels = make_pair(num_classes)
    monai = DiceCELoss(to_onehot_y=True, lambda_dice=dice, lambda_ce=cross_entropy, **SETTINGS)
    expected = loss_and_gradient(monai, logits, labels)
    found = loss_and_gradient(dice_and_cross_entropy(dice, cross_entropy), logits, labels)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize(("dice", "cross_entropy"), WEIGHTS)
def test_logits_at_ignored_pixels_change_nothing_and_get_no_gradient(num_classes, dice, cross_entropy):
    logits, labels = make_pair(num_classes)
    labels = with_ignored(labels)
    ignored = (labels == IGNORED_LABEL).expand_as(logits)
    loss = dice_and_cross_entropy(dice, cross_entropy)
    value, gradient = loss_and_gradient(loss, logits, labels)
    others = torch.where(ignored, -20 * logits.detach() + 7, logits.detach()).requires_grad_()
    other_value, other_gradient = loss_and_gradient(loss, others, labels)
    assert torch.equal(value, other_value) and torch.equal(gradient, other_gradient)
    assert not gradient[ignored].any() and gradient[~ignored].all()


@pytest.mark.parametrize("num_classes", [2, 4])
def test_it_is_the_loss_of_the_decided_pixels_alone(num_classes):
    logits, labels = make_pair(num_classes)
    ignored = with_ignored(labels) == IGNORED_LABEL
    # Dice over the whole batch and cross-entropy do not mind where a pixel lies.
    kept_logits = logits.movedim(1, -1)[~ignored[:, 0]].T[None, :, :, None]
    kept_labels = labels[~ignored][None, None, :, None]
    expected = DiceCELoss(to_onehot_y=True, **SETTINGS)(kept_logits, kept_labels)
    found = dice_and_cross_entropy(1.0, 1.0)(logits, with_ignored(labels))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("dice", "cross_entropy"), WEIGHTS)
def test_nothing_but_ignored_pixels_costs_nothing(dice, cross_entropy):
    logits, labels = make_pair()
    loss = dice_and_cross_entropy(dice, cross_entropy)
    value, gradient = loss_and_gradient(loss, logits, torch.full_like(labels, IGNORED_LABEL))
    assert value == 0 and not gradient.any()


def test_other_values_that_are_no_class_are_still_refused():
    logits, labels = make_pair()
    labels[0, 0, 0, 0] = 2
    with pytest.raises((AssertionError, IndexError, RuntimeError)):
        dice_and_cross_entropy()(logits, labels)
