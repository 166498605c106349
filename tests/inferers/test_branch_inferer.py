from __future__ import annotations

import torch
from torch import nn

from custom.inferers import BranchInferer


class Branches(nn.Module):
    """Answers with half and a quarter of the image's first channel."""

    def predict_branches(self, images):
        return images[:, :1] / 2, images[:, :1] / 4

    def combine(self, branches):
        return sum(branches) / 2


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


def test_amp_computes_in_bfloat16_and_returns_float32(cpu_with_bfloat16):
    network, images = nn.Conv2d(1, 1, 1), torch.rand(1, 1, 8, 8)
    with torch.no_grad():
        exact, rounded = (BranchInferer(amp)(images, network) for amp in (False, True))
    assert exact.dtype == rounded.dtype == torch.float32
    assert torch.equal(rounded, rounded.bfloat16().float())
    assert not torch.equal(exact, exact.bfloat16().float())


class Memberships(nn.Module):
    """Answers with memberships in three classes: (0.5, 0.4, 0.1), and the same in reverse order."""

    def predict_branches(self, images):
        memberships = torch.tensor([0.5, 0.4, 0.1]).reshape(1, 3, 1, 1) * torch.ones_like(images)
        return memberships, memberships[:, [2, 1, 0]]

    def combine(self, branches):
        return sum(branches) / 2


def test_memberships_become_classes_and_the_mean_is_that_of_the_mean_membership():
    classes = BranchInferer()(torch.rand(2, 3, 4, 5), Memberships())
    assert classes.shape == (2, 3, 4, 5)
    assert classes.dtype == torch.float32
    # The mean memberships are (0.3, 0.4, 0.3): class 1, which neither branch names.
    assert [channel.unique().tolist() for channel in classes.unbind(1)] == [[1.0], [0.0], [2.0]]


# Windows


class Local(Branches):
    """As `Branches`, and it refuses to see anything but its own square."""

    def predict_branches(self, images):
        assert tuple(images.shape[2:]) == (8, 8)
        return super().predict_branches(images)


def test_a_large_image_is_predicted_in_windows_that_are_blended():
    images = torch.rand(1, 3, 20, 29)
    soft = BranchInferer(window=8)(images, Local())
    assert torch.allclose(soft, BranchInferer()(images, Branches()), atol=1e-5)


def test_an_image_of_the_window_s_size_is_predicted_whole():
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(BranchInferer(window=8)(images, Local()), BranchInferer()(images, Branches()))


class Numbers(nn.Module):
    """Class numbers without an order: 0 at the left of each window, 2 at its right."""

    hard_labels, num_classes = True, 3

    def forward(self, images):
        numbers = torch.zeros_like(images[:, :1])
        numbers[..., images.shape[-1] // 2 :] = 2
        return numbers


def test_class_numbers_are_not_averaged_where_windows_overlap():
    numbers = BranchInferer(window=8)(torch.rand(1, 3, 8, 22), Numbers())
    assert numbers.shape == (1, 1, 8, 22)
    assert set(numbers.unique().tolist()) == {0.0, 2.0}
