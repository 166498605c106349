from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from custom.errors import InputError
from custom.networks import SkipAdapters
from tests.conftest import count_parameters


@pytest.fixture
def adapters():
    torch.manual_seed(0)
    return SkipAdapters((8, 16), (4, 6))


def test_one_set_has_its_number_of_parameters_at_each_level():
    with torch.device("meta"):
        adapters = SkipAdapters((128, 256, 512, 512), (128, 256, 512, 512))
    assert [count_parameters(block) for block in adapters.blocks] == [476_288, 1_902_848, 7_606_784, 7_606_784]
    assert count_parameters(adapters) == 17_592_704


@pytest.mark.parametrize(("level", "features", "skip"), [(0, 8, 4), (1, 16, 6)])
def test_the_shape_is_that_of_the_decoder_features(level, features, skip, adapters):
    h = torch.randn(2, features, 3, 5)
    assert adapters(level, h, torch.randn(2, skip, 3, 5)).shape == h.shape


def test_an_adapter_is_a_residual_block_on_features_and_skip_in_this_order():
    """Written out with plain tensor operations, at a width that has Stable Diffusion's 32 groups."""
    torch.manual_seed(0)
    adapters = SkipAdapters((32,), (32,)).double()
    for parameter in adapters.parameters():
        nn.init.normal_(parameter, std=0.2)
    features, skip = torch.randn(2, 2, 32, 4, 4, dtype=torch.float64)
    block = adapters.blocks[0]

    x = torch.cat([features, skip], dim=1)
    h = functional.silu(functional.group_norm(x, 32, block.norm1.weight, block.norm1.bias, 1e-6))
    h = functional.conv2d(h, block.conv1.weight, block.conv1.bias, padding=1)
    h = functional.silu(functional.group_norm(h, 32, block.norm2.weight, block.norm2.bias, 1e-6))
    h = functional.conv2d(h, block.conv2.weight, block.conv2.bias, padding=1)
    shortcut = functional.conv2d(x, block.conv_shortcut.weight, block.conv_shortcut.bias)

    torch.testing.assert_close(adapters(0, features, skip), shortcut + h)


def test_the_identity_passes_the_features_through_whatever_the_skip():
    adapters = SkipAdapters((8, 16), (4, 6), init="identity")
    features = torch.randn(2, 16, 4, 4)
    assert torch.equal(adapters(1, features, 100 * torch.randn(2, 6, 4, 4)), features)


def test_the_identity_can_learn_from_the_skip():
    adapters = SkipAdapters((8,), (4,), init="identity")
    adapters(0, torch.randn(1, 8, 4, 4), torch.randn(1, 4, 4, 4)).square().sum().backward()
    assert adapters.blocks[0].conv2.weight.grad.abs().min() > 0
    assert adapters.blocks[0].conv_shortcut.weight.grad[:, 8:].abs().min() > 0


def test_the_default_start_perturbs_the_features(adapters):
    features = torch.randn(2, 8, 4, 4)
    assert (adapters(0, features, torch.randn(2, 4, 4, 4)) - features).abs().mean() > 0.1


def test_an_unknown_start_is_refused():
    with pytest.raises(InputError, match="adapter_init 'zero': choose 'default' or 'identity'"):
        SkipAdapters((8,), (8,), init="zero")
