from __future__ import annotations

import torch
from torch import nn

from custom.inferers import BranchInferer


class Branches(nn.Module):
    """Answers with half and a quarter of the image's first channel."""

    def predict_branches(self, images):
        return images[:, :1] / 2, images[:, :1] / 4


class Third(nn.Module):
    def forward(self, images):
        return images[:, :1] / 3


def test_channels_are_the_mean_and_then_the_branches_in_order():
    images = torch.rand(2, 3, 4, 5)
    soft = BranchInferer()(images, Branches())
    assert soft.shape == (2, 3, 4, 5)
    assert torch.allclose(soft[:, 0], 0.375 * images[:, 0])
    assert torch.equal(soft[:, 1], images[:, 0] / 2)
    assert torch.equal(soft[:, 2], images[:, 0] / 4)


def test_a_network_without_branches_gives_its_output_alone():
    images = torch.rand(2, 3, 4, 5)
    assert torch.equal(BranchInferer()(images, Third()), images[:, :1] / 3)


def test_amp_computes_in_bfloat16_and_returns_float32():
    network, images = nn.Conv2d(1, 1, 1), torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        exact, rounded = (BranchInferer(amp)(images, network) for amp in (False, True))
    assert exact.dtype == rounded.dtype == torch.float32
    assert torch.equal(rounded, rounded.bfloat16().float())
    assert not torch.equal(exact, exact.bfloat16().float())
