from __future__ import annotations

import pytest
import torch

from custom.errors import InputError
from custom.transforms.copy_paste import mix
from custom.transforms.cutmix import cutmix_masks


def test_every_mask_has_one_whole_box_of_an_area_and_aspect_in_range():
    torch.manual_seed(0)
    masks = cutmix_masks(300, 40, 60, probability=1.0)
    assert masks.shape == (300, 1, 40, 60) and set(masks.unique().tolist()) == {0.0, 1.0}
    sizes = set()
    for mask in masks[:, 0]:
        rows, columns = (mask == 0).any(dim=1).sum().item(), (mask == 0).any(dim=0).sum().item()
        assert (mask == 0).sum() == rows * columns  # a full rectangle
        # Both sides are rounded down by less than a pixel.
        assert rows * columns <= 0.4 * 2400 and (rows + 1) * (columns + 1) >= 0.02 * 2400
        assert rows / (columns + 1) < 1 / 0.3 and (rows + 1) / columns > 0.3
        sizes.add((rows, columns))
    assert len(sizes) > 100
    # Each of the four sides of the image is touched by some box, so every place can be cut.
    assert all((edge == 0).any() for edge in (masks[..., 0, :], masks[..., -1, :], masks[..., 0], masks[..., -1]))


def test_the_probability_is_that_of_a_box_and_drawn_for_each_image():
    torch.manual_seed(0)
    cut = (cutmix_masks(1000, 16, 16) == 0).flatten(1).any(dim=1).float().mean().item()
    assert cut == pytest.approx(0.5, abs=0.05)
    assert cutmix_masks(5, 16, 16, probability=0.0).all()


def test_the_boxes_follow_torchs_generator():
    torch.manual_seed(3)
    first = cutmix_masks(4, 20, 20)
    torch.manual_seed(3)
    assert torch.equal(first, cutmix_masks(4, 20, 20))


def test_mixed_with_the_flipped_batch_the_box_shows_the_partner_and_a_single_image_itself():
    torch.manual_seed(0)
    rows = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 16, 16)
    masks = cutmix_masks(3, 16, 16, probability=1.0)
    mixed = mix(rows, rows.flip(0), masks)
    for row, partner in ((0, 2.0), (1, 1.0), (2, 0.0)):
        assert torch.equal(mixed[row], torch.where(masks[row] == 1, float(row), partner))
    assert torch.equal(mix(rows[:1], rows[:1].flip(0), masks[:1]), rows[:1])


def test_a_probability_out_of_range_is_refused():
    with pytest.raises(InputError, match="from 0 to 1"):
        cutmix_masks(1, 16, 16, probability=1.5)
