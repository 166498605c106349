from __future__ import annotations

import pytest
import torch

from custom.errors import InputError
from custom.transforms.copy_paste import copy_paste_mask, mix


def corner(mask):
    """Row and column of the first zero, and the sides of the box around all zeros."""
    rows, columns = torch.nonzero(mask[0, 0] == 0, as_tuple=True)
    top, left = rows.min().item(), columns.min().item()
    return top, left, rows.max().item() - top + 1, columns.max().item() - left + 1


def test_mask_is_one_with_a_rectangle_of_149_zeros_in_224():
    mask = copy_paste_mask(224, 224)
    assert mask.shape == (1, 1, 224, 224)
    assert corner(mask)[2:] == (149, 149)
    assert mask.sum() == 224**2 - 149**2
    assert set(mask.unique().tolist()) == {0.0, 1.0}


def test_corner_takes_every_position_but_the_last_on_both_axes():
    corners = [corner(copy_paste_mask(9, 9))[:2] for _ in range(200)]  # rectangles of 6, which would fit at 3 too
    assert {top for top, _ in corners} == {left for _, left in corners} == {0, 1, 2}


def test_corner_is_drawn_from_0_to_74_in_224(monkeypatch):
    limits = []
    monkeypatch.setattr(torch, "randint", lambda high, size: limits.append(high) or torch.tensor(high - 1))
    assert corner(copy_paste_mask(224, 224))[:2] == (74, 74)
    assert limits == [75, 75]


def test_rectangle_of_an_oblong_image_keeps_its_proportions():
    assert corner(copy_paste_mask(6, 13, share=0.5))[2:] == (3, 6)


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5])
def test_share_outside_0_and_1_is_refused(share):
    with pytest.raises(InputError, match="must lie between 0 and 1"):
        copy_paste_mask(8, 8, share)


def test_both_mixed_images_hold_every_pixel_of_the_two_once():
    labelled, unlabelled, mask = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), copy_paste_mask(8, 8)
    mixed = mix(labelled, unlabelled, mask) + mix(unlabelled, labelled, mask)
    assert torch.equal(mixed, labelled + unlabelled)


def test_first_argument_lies_outside_and_second_inside_the_rectangle():
    mask = torch.tensor([[[[1.0, 0.0, 1.0]]]])
    outside, inside = torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.tensor([[[[4.0, 5.0, 6.0]]]])
    assert mix(outside, inside, mask).flatten().tolist() == [1, 5, 3]


def test_class_indices_are_selected_and_never_averaged():
    truth, pseudo = torch.full((2, 1, 8, 8), 2.0), torch.zeros(2, 1, 8, 8)
    mixed = mix(truth, pseudo, copy_paste_mask(8, 8))
    assert mixed.unique().tolist() == [0, 2]


def test_all_images_of_a_batch_share_the_rectangle():
    mixed = mix(torch.ones(4, 3, 8, 8), torch.zeros(4, 3, 8, 8), copy_paste_mask(8, 8))
    assert (mixed == mixed[:1, :1]).all()
