from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss

from custom.labels import IGNORED_LABEL
from custom.losses import SoftLabelDiceLoss

EPSILON = 1e-5


def image(*values):
    """One image of one row, [1, 1, 1, len(values)]."""
    return torch.tensor(values).view(1, 1, 1, -1)


def one_minus_dice(overlap, total):
    return 1 - (2 * overlap + EPSILON) / (total + EPSILON)


def test_binary_loss_is_the_released_formula():
    loss = SoftLabelDiceLoss()(image(0.2, 0.4, 0.6, 0.8), image(0.0, 0.0, 1.0, 1.0))
    assert loss.item() == pytest.approx(one_minus_dice(overlap=1.4, total=4))


def test_samples_are_averaged_and_not_pooled():
    prediction = torch.cat([image(1.0, 1.0, 1.0, 1.0), image(0.0, 0.0, 0.0, 0.5)])
    target = torch.cat([image(1.0, 1.0, 1.0, 1.0), image(0.0, 0.0, 0.0, 1.0)])
    expected = (0 + one_minus_dice(overlap=0.5, total=1.5)) / 2  # pooled it would be 1 - 9 / 9.5
    assert SoftLabelDiceLoss()(prediction, target).item() == pytest.approx(expected)


def test_empty_prediction_of_an_empty_target_costs_nothing():
    assert SoftLabelDiceLoss()(image(0.0, 0.0), image(0.0, 0.0)).item() == 0


def test_an_empty_target_gives_practically_no_gradient():
    prediction = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    SoftLabelDiceLoss()(prediction, torch.zeros(1, 1, 4, 4)).backward()
    assert prediction.grad.flatten().tolist() == pytest.approx([EPSILON / 8**2] * 16, rel=1e-3)


def test_a_target_that_is_not_empty_gives_the_gradient_of_dice():
    prediction = image(0.5, 0.5).requires_grad_()
    SoftLabelDiceLoss()(prediction, image(0.0, 1.0)).backward()
    # D = 2 I / S with I = 0.5, S = 2: dD/dp = 2 g / S - 2 I / S^2
    assert prediction.grad.flatten().tolist() == pytest.approx([0.25, -0.75], abs=1e-4)


def test_two_classes_take_the_binary_path_exactly():
    prediction, target = torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8).round()
    assert torch.equal(SoftLabelDiceLoss(2)(prediction, target), DiceLoss()(prediction, target))


def test_three_classes_compare_memberships_with_the_one_hot_target():
    loss = SoftLabelDiceLoss(3)(image(0.0, 1.4, 2.0, 0.5), image(0.0, 1.0, 2.0, 1.0))
    # memberships of class 1: 0, 0.6, 0, 0.5; of class 2: 0, 0.4, 1, 0
    expected = (one_minus_dice(overlap=1.1, total=1.1 + 2) + one_minus_dice(overlap=1.0, total=1.4 + 1)) / 2
    assert loss.item() == pytest.approx(expected)


def test_three_classes_compare_memberships_with_those_of_a_soft_target():
    loss = SoftLabelDiceLoss(3)(image(0.0, 1.4, 2.0, 0.5), image(0.25, 1.0, 1.7, 1.0))
    # memberships of the target in class 1: 0.25, 1, 0.3, 1; in class 2: 0, 0, 0.7, 0
    expected = (one_minus_dice(overlap=1.1, total=1.1 + 2.55) + one_minus_dice(overlap=0.7, total=1.4 + 0.7)) / 2
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_two_soft_labels_both_receive_a_gradient(num_classes):
    prediction, target = image(0.2, 0.6).requires_grad_(), image(0.4, 0.7).requires_grad_()
    SoftLabelDiceLoss(num_classes)(prediction, target).backward()
    assert prediction.grad.ne(0).all()
    assert target.grad.ne(0).all()


def test_loss_of_ordinal_values_never_falls_below_zero():
    loss = SoftLabelDiceLoss(3)(image(1.8), image(2.0))  # Dice on the plain values would be 1 - 7.2 / 3.8 = -0.895
    expected = (one_minus_dice(overlap=0, total=0.2) + one_minus_dice(overlap=0.8, total=1.8)) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_ignored_pixels_change_nothing_and_get_no_gradient(num_classes):
    target = torch.randint(num_classes, (2, 1, 6, 6), generator=torch.Generator().manual_seed(0)).float()
    target[0, :, :2], target[1, :, :, 3] = IGNORED_LABEL, IGNORED_LABEL
    ignored = target == IGNORED_LABEL
    first = ((num_classes - 1) * torch.rand(2, 1, 6, 6)).requires_grad_()
    second = torch.where(ignored, 1 - first.detach(), first.detach()).requires_grad_()
    losses = [SoftLabelDiceLoss(num_classes)(prediction, target) for prediction in (first, second)]
    sum(losses).backward()
    assert torch.equal(*losses) and torch.equal(first.grad, second.grad)
    assert not first.grad[ignored].any() and first.grad[~ignored].any()


@pytest.mark.parametrize("num_classes", [2, 3])
def test_ignored_pixels_are_in_no_sum(num_classes):
    known = SoftLabelDiceLoss(num_classes)(image(0.2, 1.0), image(0.0, 1.0))
    more = SoftLabelDiceLoss(num_classes)(image(0.2, 0.9, 1.0, 0.3), image(0.0, 255.0, 1.0, 255.0))
    assert torch.equal(known, more)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_nothing_but_ignored_pixels_costs_nothing(num_classes):
    prediction = image(0.2, 0.7).requires_grad_()
    loss = SoftLabelDiceLoss(num_classes)(prediction, image(255.0, 255.0))
    loss.backward()
    assert loss == 0 and not prediction.grad.any()


@pytest.mark.parametrize("num_classes", [3, 4])
def test_memberships_are_taken_as_they_are(num_classes):
    """Those of a soft ordinal label give its loss, as a prediction and as a target."""
    loss = SoftLabelDiceLoss(num_classes)
    soft = (num_classes - 1) * torch.rand(2, 1, 4, 4)
    target = torch.randint(num_classes, (2, 1, 4, 4)).float()
    memberships, true = loss.codec.memberships(soft), loss.codec.memberships(target)
    assert torch.equal(loss(memberships, target), loss(soft, target))
    assert torch.equal(loss(memberships, true), loss(soft, target))


def test_memberships_of_two_classes_are_those_of_the_binary_loss():
    soft, target = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4).round()
    loss = SoftLabelDiceLoss(2)
    assert torch.equal(loss(torch.cat([1 - soft, soft], dim=1), target), loss(soft, target))


def test_ignored_pixels_give_memberships_no_gradient():
    memberships = torch.rand(1, 3, 4, 4).softmax(dim=1).requires_grad_()
    target = torch.randint(3, (1, 1, 4, 4), generator=torch.Generator().manual_seed(0)).float()
    target[..., 1, :] = IGNORED_LABEL
    SoftLabelDiceLoss(3)(memberships, target).backward()
    assert not memberships.grad[..., 1, :].any()
    assert memberships.grad[:, 1:, [0, 2, 3]].all()
