from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import l1_loss, mse_loss

from custom.labels import IGNORED_LABEL
from custom.labels.ignored import clear_ignored, decided, decided_cells, mean_loss


def row(*values):
    """One image of one row, [1, 1, 1, len(values)]."""
    return torch.tensor(values).view(1, 1, 1, -1)


LABELS = row(0.0, IGNORED_LABEL, 2.0, IGNORED_LABEL)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.int64])
def test_255_alone_is_undecided_in_every_dtype(dtype):
    labels = row(0, 1, 254, 255).to(dtype)
    assert decided(labels).flatten().tolist() == [True, True, True, False]
    assert clear_ignored(labels, labels).dtype == dtype


def test_cleared_labels_have_background_there_and_are_else_the_same():
    assert clear_ignored(LABELS, LABELS).flatten().tolist() == [0, 0, 2, 0]


def test_cleared_values_lose_what_is_no_number_and_every_gradient():
    values = row(1.0, math.nan, 3.0, math.inf).requires_grad_()
    cleared = clear_ignored(values, LABELS)
    cleared.square().sum().backward()
    assert cleared.flatten().tolist() == [1, 0, 3, 0]
    assert values.grad.flatten().tolist() == [2, 0, 6, 0]


def test_a_cell_with_one_ignored_pixel_is_not_decided():
    labels = torch.zeros(2, 1, 8, 4)
    labels[1, 0, 5, 3] = IGNORED_LABEL
    cells = decided_cells(labels, (4, 2))
    assert cells.shape == (2, 1, 4, 2)
    assert (~cells).nonzero().tolist() == [[1, 0, 2, 1]]


def test_mean_goes_over_the_counted_positions_of_all_channels():
    prediction, target = torch.tensor([1.0, 5.0, 3.0, 7.0]).view(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    assert mean_loss(mse_loss, prediction, target, row(True, False)).item() == (1 + 9) / 2


@pytest.mark.parametrize("loss", [mse_loss, l1_loss])
def test_mean_over_everything_is_the_loss_to_the_last_bit(loss):
    prediction, target = torch.rand(2, 3, 7, 5, requires_grad=True), torch.rand(2, 3, 7, 5)
    values = [mean_loss(loss, prediction, target, torch.ones(2, 1, 7, 5, dtype=torch.bool)), loss(prediction, target)]
    gradients = [torch.autograd.grad(0.3 * value, prediction)[0] for value in values]
    assert torch.equal(*values) and torch.equal(*gradients)


def test_mean_over_nothing_is_0_without_gradient():
    prediction = torch.rand(1, 2, 1, 3, requires_grad=True)
    loss = mean_loss(mse_loss, prediction, torch.rand(1, 2, 1, 3), row(False, False, False))
    loss.backward()
    assert loss == 0 and not prediction.grad.any()
