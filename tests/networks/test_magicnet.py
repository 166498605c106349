from __future__ import annotations

import pytest
import torch

from custom.errors import InputError
from custom.networks import MagicNetworks, UNet
from custom.networks.magicnet import from_cells, shuffle_cells, to_cells

WIDTHS = (4, 8, 8, 8, 8)


def make(cells=2, **arguments):
    return MagicNetworks(UNet(3, widths=WIDTHS, dropout=(0.0,) * 5, seed=0, **arguments), cells, location_width=8)


def test_cells_go_row_by_row_and_come_back():
    values = torch.arange(24.0).reshape(1, 1, 4, 6)
    cells = to_cells(values, 2)
    assert cells.shape == (1, 4, 1, 2, 3)
    assert cells[0, 1, 0].tolist() == [[3, 4, 5], [9, 10, 11]]
    assert cells[0, 2, 0].tolist() == [[12, 13, 14], [18, 19, 20]]
    assert torch.equal(from_cells(cells, 2), values)


def test_shuffled_cells_keep_their_place_and_come_back():
    cells = to_cells(torch.rand(3, 2, 4, 4), 2)
    order = torch.tensor([[0, 1, 2], [1, 2, 0], [2, 1, 0], [0, 2, 1]])
    mixed = shuffle_cells(cells, order)
    assert torch.equal(mixed[0, 1], cells[1, 1]) and torch.equal(mixed[2, 1], cells[0, 1])
    assert torch.equal(mixed[1, 3], cells[2, 3])
    assert torch.equal(shuffle_cells(mixed, order.argsort(dim=1)), cells)


@pytest.mark.parametrize("size", [(32, 48), (35, 50)])
def test_images_that_stay_as_they_are_give_the_plain_logits(size):
    networks = make().eval()
    images = torch.rand(2, 3, *size)
    order = torch.arange(2).repeat(4, 1)
    found, plain = networks.mixed_logits(images, order), networks.student.logits(images)
    assert found.shape == plain.shape
    if size == (32, 48):
        torch.testing.assert_close(found, plain)


def test_images_that_change_places_as_a_whole_give_the_plain_logits():
    networks, images = make().eval(), torch.rand(2, 3, 32, 32)
    order = torch.tensor([1, 0]).repeat(4, 1)
    torch.testing.assert_close(networks.mixed_logits(images, order), networks.student.logits(images))


def test_each_cell_is_seen_by_itself():
    networks, images = make().eval(), torch.rand(1, 3, 32, 32)
    logits, locations = networks.cell_logits(images)
    other = images.clone()
    other[..., :16, :16] = 0
    changed, moved = networks.cell_logits(other)
    torch.testing.assert_close(changed[..., 17:, 17:], logits[..., 17:, 17:])  # but for the head's 3 x 3 pixels
    assert not torch.allclose(changed[..., :16, :16], logits[..., :16, :16])
    assert (moved != locations).any(dim=1).tolist() == [True, False, False, False]


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "resnet18"])
def test_features_of_a_coarser_encoder_are_put_together_likewise(encoder):
    networks = MagicNetworks(UNet(3, encoder=encoder, seed=0), 2, location_width=8).eval()
    images = torch.rand(2, 3, 67, 112)  # cells of 36 x 56
    order = torch.arange(2).repeat(4, 1)
    assert networks.mixed_logits(images, order).shape == networks.cell_logits(images)[0].shape == (2, 3, 67, 112)
    torch.testing.assert_close(
        networks.mixed_logits(images[..., :64, :], order), networks.student.logits(images[..., :64, :])
    )


def test_cells_that_are_too_small_or_too_few_are_an_input_error():
    with pytest.raises(InputError, match="cells 4: of 32 x 32 pixels they have 8 along a side; give fewer"):
        make(4).cell_logits(torch.rand(1, 3, 32, 32))
    with pytest.raises(InputError, match="cells 1: give 2 or more"):
        make(1)
