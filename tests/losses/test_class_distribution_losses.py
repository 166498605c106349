from __future__ import annotations

import math

import pytest
import torch
from monai.networks import one_hot
from torch.nn.functional import interpolate

from custom.errors import InputError
from custom.losses.class_distribution_losses import (
    anchor_loss,
    embedding_to_proxy_loss,
    labelled_token_weights,
    proxy_to_embedding_loss,
    semantic_anchors,
    unlabelled_token_weights,
)

SIMILARITIES = torch.tensor([[[0.5, -0.5], [0.2, 0.4]]])
WEIGHTS = torch.tensor([[[1.0, 0.0], [0.25, 0.75]]])


def test_labelled_weights_are_the_shares_of_classes_in_each_token():
    labels = torch.tensor([[[[0.0, 1.0, 2.0, 2.0], [1.0, 2.0, 2.0, 2.0]]]])
    weights = labelled_token_weights(labels, 3, (1, 2))
    torch.testing.assert_close(weights, torch.tensor([[[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]]]))


def test_labelled_weights_go_row_by_row():
    labels = torch.zeros(1, 1, 4, 6)
    labels[..., 0:2, 4:6] = 1  # row 0, column 2 of the 2 x 3 tokens
    weights = labelled_token_weights(labels, 2, (2, 3))
    assert weights[0, :, 1].tolist() == [0, 0, 1, 0, 0, 0]


def test_labelled_weights_sum_to_one_where_tokens_do_not_divide_the_image():
    labels = torch.randint(3, (2, 1, 7, 5), generator=torch.Generator().manual_seed(0)).float()
    weights = labelled_token_weights(labels, 3, (3, 2))
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 6))


def test_unlabelled_weights_are_normalised_squares():
    weights = unlabelled_token_weights(torch.tensor([[[0.8, 0.2], [0.5, 0.5]]]))
    torch.testing.assert_close(weights, torch.tensor([[[0.64 / 0.68, 0.04 / 0.68], [0.5, 0.5]]]))


def test_unlabelled_weights_have_no_gradient():
    assignments = torch.tensor([[[0.8, 0.2]]], requires_grad=True)
    assert not unlabelled_token_weights(assignments).requires_grad


def test_unlabelled_weights_of_no_image_are_empty():
    assert unlabelled_token_weights(torch.zeros(0, 4, 3)).shape == (0, 4, 3)


def test_p2e_by_class():
    # E+ = 0.55 / 1.25 and 0.3 / 0.75; E- = 0.15 / 0.75 and -0.4 / 1.25
    expected = (math.exp(-(0.44 - 0.2)) + math.exp(-(0.4 + 0.32))) / 2
    assert proxy_to_embedding_loss(SIMILARITIES, WEIGHTS).item() == pytest.approx(expected)


def test_p2e_by_token():
    expected = (math.exp(-0.5) + math.exp(-0.5) + math.exp(0.1) + math.exp(-0.2)) / 4
    assert proxy_to_embedding_loss(SIMILARITIES, WEIGHTS, "token").item() == pytest.approx(expected)


def test_p2e_by_class_takes_the_tokens_of_all_images_together():
    alone = proxy_to_embedding_loss(SIMILARITIES, WEIGHTS)
    apart = proxy_to_embedding_loss(SIMILARITIES.transpose(0, 1), WEIGHTS.transpose(0, 1))
    torch.testing.assert_close(apart, alone)


@pytest.mark.parametrize(("form", "same"), [("class", True), ("token", False)])
def test_more_background_tokens_change_p2e_by_token_alone(form, same):
    similarities = torch.tensor([[[0.9, -0.2], [-0.1, 0.3]]])
    weights = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    rows = [0, 0, 0, 0, 0, 1]
    few = proxy_to_embedding_loss(similarities, weights, form).item()
    many = proxy_to_embedding_loss(similarities[:, rows], weights[:, rows], form).item()
    assert (many == pytest.approx(few)) == same


def test_p2e_moves_an_absent_class_away_from_all_tokens():
    similarities = torch.tensor([[[0.5, -0.5], [0.2, 0.4]]], requires_grad=True)
    weights = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    loss = proxy_to_embedding_loss(similarities, weights)
    assert loss.item() == pytest.approx((math.exp(-0.35) + math.exp(-0.05)) / 2)
    loss.backward()
    assert (similarities.grad[..., 1] > 0).all()
    assert (similarities.grad[..., 0] < 0).all()


def test_unknown_form_is_an_input_error():
    with pytest.raises(InputError, match="'class' or 'token'"):
        proxy_to_embedding_loss(SIMILARITIES, WEIGHTS, "pixel")


def test_e2p():
    # 1 * 0.5; 0.25 * 0.8 + 0.75 * 0.6
    assert embedding_to_proxy_loss(SIMILARITIES, WEIGHTS).item() == pytest.approx((0.5 + 0.65) / 2)


def test_anchors_are_mean_directions_of_the_images_regions():
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [3.0, 0.0]]])
    weights = torch.tensor([[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])
    anchors, present = semantic_anchors(tokens, weights, lambda regions: regions)
    # class 0: directions (1, 1) / sqrt(2) and (1, 0), half the angle between them; class 1: in the first image alone
    eighth = math.pi / 8
    expected = torch.tensor([[math.cos(eighth), math.sin(eighth)], [0.0, 1.0], [0.0, 0.0]])
    torch.testing.assert_close(anchors, expected)
    assert present.tolist() == [True, True, False]


def test_anchors_embed_the_mean_of_the_region_not_each_token():
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    weights = torch.tensor([[[0.75], [0.25]]])
    anchors, _ = semantic_anchors(tokens, weights, lambda regions: regions**2)
    # (0.75, 0.25) squared is in the direction of (9, 1)
    torch.testing.assert_close(anchors, torch.tensor([[9.0, 1.0]]) / math.sqrt(82))


def test_anchors_have_no_gradient():
    embed = torch.nn.Linear(2, 2)
    tokens = torch.ones(1, 2, 2, requires_grad=True)
    anchors, _ = semantic_anchors(tokens, torch.ones(1, 2, 1), embed)
    assert not anchors.requires_grad


def test_sac_averages_over_present_classes():
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    centres = torch.tensor([[2.0, 0.0], [3.0, 4.0], [1.0, 1.0]])
    loss = anchor_loss(anchors, torch.tensor([True, True, False]), centres)
    assert loss.item() == pytest.approx((0.0 + 0.2) / 2)


def test_sac_moves_the_centres_of_present_classes_alone():
    anchors = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    centres = torch.tensor([[1.0, 1.0], [1.0, 2.0]], requires_grad=True)
    anchor_loss(anchors, torch.tensor([True, False]), centres).backward()
    assert centres.grad[0].abs().sum() > 0
    assert centres.grad[1].tolist() == [0, 0]


def test_labelled_weights_are_shares_of_the_decided_pixels():
    labels = torch.tensor([[[[0.0, 1.0, 255.0, 255.0], [1.0, 255.0, 255.0, 255.0]]]])
    weights = labelled_token_weights(labels, 2, (1, 2))
    torch.testing.assert_close(weights, torch.tensor([[[1 / 3, 2 / 3], [0.0, 0.0]]]))


def test_labelled_weights_without_ignored_pixels_are_area_means_to_the_last_bit():
    labels = torch.randint(3, (2, 1, 7, 5), generator=torch.Generator().manual_seed(0)).float()
    expected = interpolate(one_hot(labels, 3), size=(3, 2), mode="area").flatten(2).transpose(1, 2)
    assert torch.equal(labelled_token_weights(labels, 3, (3, 2)), expected)


def test_no_class_present_has_no_anchor_to_hold_to():
    centres = torch.rand(2, 3, requires_grad=True)
    loss = anchor_loss(torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool), centres)
    loss.backward()
    assert loss == 0 and not centres.grad.any()
