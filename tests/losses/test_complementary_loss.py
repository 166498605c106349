from __future__ import annotations

import math

import pytest
import torch

from custom.losses import complementary_loss


def logits_of(*pixels):
    """Logits [1, K, 1, W] whose softmax in pixel i is pixels[i]."""
    return torch.tensor(pixels).T[None, :, None].log() + 3.0


def test_two_pixels_by_hand():
    # Both classes have the shares 0.8 and 0.2 in the two pixels: entropy 0.50040, a = 1 - 0.50040 / 0.69315 = 0.27807.
    # Logits 1 - p are (0.8, 0.2) with target 0 and (0.2, 0.8) with target 1: each ln(1 + e^-0.6) = 0.43749.
    strong = logits_of((0.2, 0.8), (0.8, 0.2))
    weak = logits_of((0.1, 0.9), (0.7, 0.3))
    comp, factor = complementary_loss(strong, weak)
    assert factor.item() == pytest.approx(0.27807, abs=1e-5)
    assert comp.item() == pytest.approx(0.27807 * 0.43749, abs=1e-5)


def test_a_weak_view_of_the_other_opinion_costs_more():
    # Targets are now 1 and 0: each ln(1 + e^0.6) = 1.03749.
    strong = logits_of((0.2, 0.8), (0.8, 0.2))
    comp, _ = complementary_loss(strong, strong.flip(-1))
    assert comp.item() == pytest.approx(0.27807 * 1.03749, abs=1e-5)


def test_probabilities_are_normalised_over_the_pixels_for_each_class():
    # Class 1 has (0.9, 0.3) = 1.2 * (0.75, 0.25), class 0 (0.1, 0.7) = 0.8 * (0.125, 0.875).
    entropies = [-(p * math.log(p) + (1 - p) * math.log(1 - p)) for p in (0.75, 0.125)]
    _, factor = complementary_loss(logits_of((0.1, 0.9), (0.7, 0.3)), torch.zeros(1, 2, 1, 2))
    assert factor.item() == pytest.approx(1 - sum(entropies) / 2 / math.log(2), abs=1e-6)


def test_three_classes_take_the_least_probable_as_target():
    strong, weak = logits_of((0.2, 0.3, 0.5), (0.6, 0.3, 0.1)), logits_of((0.3, 0.1, 0.6), (0.5, 0.4, 0.1))
    comp, factor = complementary_loss(strong, weak)
    first = math.log(sum(math.exp(x) for x in (0.8, 0.7, 0.5))) - 0.7
    second = math.log(sum(math.exp(x) for x in (0.4, 0.7, 0.9))) - 0.9
    assert (comp / factor).item() == pytest.approx((first + second) / 2, abs=1e-5)


def test_the_factor_is_zero_where_the_answer_is_the_same_everywhere():
    comp, factor = complementary_loss(torch.ones(2, 3, 4, 4), torch.randn(2, 3, 4, 4))
    assert factor.item() == pytest.approx(0, abs=1e-6)
    assert comp.item() == pytest.approx(0, abs=1e-6)


def test_gradient_flows_to_the_strong_view_through_both_and_never_to_the_weak_one():
    strong, weak = (torch.randn(1, 2, 3, 3, requires_grad=True) for _ in range(2))
    comp, factor = complementary_loss(strong, weak)
    assert factor.requires_grad
    comp.backward()
    assert strong.grad.abs().sum() > 0
    assert weak.grad is None


def test_a_class_without_any_probability_gives_finite_numbers_and_gradients():
    strong = torch.zeros(1, 2, 2, 2)
    strong[:, 1] = -500.0
    strong.requires_grad_()
    comp, factor = complementary_loss(strong, torch.zeros(1, 2, 2, 2))
    (factor * comp).backward()
    assert comp.isfinite() and factor.isfinite() and strong.grad.isfinite().all()
