from __future__ import annotations

import math

import pytest
import torch

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.losses import GradientAwareLoss, gradient_aware_cross_entropy, gradient_aware_dice


def of_pixels(*probabilities):
    """Logits [1, K, 1, W] from the probabilities of each pixel."""
    return torch.tensor(probabilities).T[None, :, None].log().requires_grad_()


def labels_of(*classes):
    return torch.tensor(classes).float().reshape(1, 1, 1, -1)


def test_dice_of_present_and_absent_classes_by_hand():
    logits = of_pixels((0.5, 0.3, 0.2), (0.1, 0.8, 0.1))
    first = 1 - 2 * 0.5 / (0.5**2 + 0.1**2 + 1)
    second = 1 - 2 * 0.8 / (0.3**2 + 0.8**2 + 1)
    absent = (0.2**2 + 0.1**2) / 2
    assert gradient_aware_dice(logits, labels_of(0, 1)).item() == pytest.approx((first + second + absent) / 3)


def test_an_absent_class_has_the_gradient_p_over_the_number_of_pixels():
    """d/dz of sum_n sg[p_n] p_n / N is p_n / N times the derivative p_n (1 - p_n) of the softmax."""
    logits = of_pixels((0.9, 0.1), (0.7, 0.3))
    gradient_aware_dice(logits, labels_of(0, 0)).backward()
    absent = [0.1 / 2 * 0.1 * 0.9, 0.3 / 2 * 0.3 * 0.7]
    size = 0.9**2 + 0.7**2 + 2
    slopes = [-2 / size + 2 * 1.6 / size**2 * 2 * p for p in (0.9, 0.7)]  # of the Dice loss by p
    present = [slope * p * (1 - p) for slope, p in zip(slopes, (0.9, 0.7), strict=True)]
    expected = [(a - b) / 2 for a, b in zip(absent, present, strict=True)]
    assert logits.grad[0, 1, 0].tolist() == pytest.approx(expected, rel=1e-4)


def test_cross_entropy_by_hand():
    logits, labels = of_pixels((0.9, 0.1), (0.6, 0.4), (0.8, 0.2), (0.3, 0.7)), labels_of(0, 0, 1, 1)
    easy, hard, wrong, right = (-math.log(p) for p in (0.9, 0.6, 0.2, 0.7))
    of_all = (easy + hard) / math.sqrt(2 * 4) + (wrong + right) / math.sqrt(2 * 4)
    assert gradient_aware_cross_entropy(logits, labels).item() == pytest.approx(of_all)
    kept = hard / math.sqrt(1 * 3) + (wrong + right) / math.sqrt(2 * 3)  # the easiest is left out
    assert gradient_aware_cross_entropy(logits, labels, hardest=75).item() == pytest.approx(kept)
    by_class = (easy + hard) / 2 + (wrong + right) / 2
    assert gradient_aware_cross_entropy(logits, labels, class_exponent=0).item() == pytest.approx(by_class)


def test_the_number_of_kept_pixels_is_rounded_down_to_one_at_least():
    logits, labels = of_pixels(*[(0.5, 0.5)] * 3 + [(0.9, 0.1)]), labels_of(0, 0, 0, 1)
    assert gradient_aware_cross_entropy(logits, labels, hardest=10).item() == pytest.approx(-math.log(0.1))
    gradient_aware_cross_entropy(logits, labels, hardest=49).backward()  # one of 1.96
    assert logits.grad.ne(0).any(dim=1).flatten().tolist() == [False, False, False, True]


def test_with_exponent_1_it_is_the_mean_of_the_kept_pixels():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 3, 4, 4, generator=generator), torch.randint(3, (2, 1, 4, 4), generator=generator)
    expected = torch.nn.functional.cross_entropy(logits, labels[:, 0])
    torch.testing.assert_close(gradient_aware_cross_entropy(logits, labels, class_exponent=1), expected)


@pytest.mark.parametrize("loss", [gradient_aware_dice, gradient_aware_cross_entropy, GradientAwareLoss(hardest=50)])
def test_ignored_pixels_count_nowhere(loss):
    some, all_of_them = of_pixels((0.5, 0.5), (0.9, 0.1), (0.2, 0.8)), of_pixels((0.5, 0.5), (0.2, 0.8))
    value = loss(some, labels_of(0, IGNORED_LABEL, 1))
    value.backward()
    assert value.item() == pytest.approx(loss(all_of_them, labels_of(0, 1)).item())
    assert not some.grad[..., 1].any()
    nothing = loss(some, labels_of(*[IGNORED_LABEL] * 3))
    assert nothing.item() == 0 and nothing.requires_grad


def test_the_module_weighs_both():
    logits, labels = of_pixels((0.9, 0.1), (0.6, 0.4)), labels_of(0, 1)
    dice, cross = gradient_aware_dice(logits, labels), gradient_aware_cross_entropy(logits, labels, 50, 0.3)
    assert GradientAwareLoss(50, 0.3, 2.0, 3.0)(logits, labels).item() == pytest.approx((2 * dice + 3 * cross).item())


@pytest.mark.parametrize("wrong", [{"hardest": 0}, {"hardest": 101}, {"class_exponent": -0.1}, {"class_exponent": 2}])
def test_a_value_out_of_range_is_an_input_error(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} .*: give a"):
        GradientAwareLoss(**wrong)
