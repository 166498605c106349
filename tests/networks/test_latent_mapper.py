from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from custom.networks import LatentMapper
from custom.networks.latent_mapper import ResidualAttentionUnit
from tests.conftest import count_parameters

# Parameters of each node of GMS's ResAttnUNet_DS with 4 latent channels and width 32.
NODES = {
    "conv_in": 1_184,
    "down1": 22_914,
    "down2": 74_434,
    "down3": 296_322,
    "middle": 361_986,
    "up3": 542_466,
    "up2": 177_154,
    "up1": 44_546,
    "up0": 34_242,
    "conv_out": 1_216,
}


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return LatentMapper(4)


def test_the_mapper_has_its_number_of_parameters(full_size):
    assert count_parameters(full_size) == 1_556_464


@pytest.mark.parametrize(("node", "parameters"), NODES.items())
def test_each_node_has_its_number_of_parameters(node, parameters, full_size):
    assert count_parameters(getattr(full_size, node)) == parameters


def test_the_resolution_is_kept_in_every_node(full_size):
    sizes = []
    for node in NODES:
        getattr(full_size, node).register_forward_hook(lambda *hook: sizes.append(tuple(hook[2].shape)))
    full_size(torch.empty(2, 4, 28, 28, device="meta"))
    channels = [32, 32, 64, 128, 128, 128, 64, 32, 32, 4]
    assert sizes == [(2, width, 28, 28) for width in channels]


@pytest.mark.parametrize(("channels", "width", "size"), [(4, 8, (2, 2)), (16, 4, (3, 5)), (3, 6, (1, 1))])
def test_other_widths_channels_and_sizes_fit(channels, width, size):
    latent = torch.randn(2, channels, *size)
    assert LatentMapper(channels, width)(latent).shape == latent.shape


def test_convolutions_start_kaiming_normal_by_fan_out_and_biases_at_zero():
    torch.manual_seed(0)
    mapper = LatentMapper(4)
    convolution = mapper.up3.residual[2]  # 256 -> 128 channels, 3 x 3
    gain = (2 / (1 + 0.01**2)) ** 0.5
    assert convolution.weight.std().item() == pytest.approx(gain / (128 * 9) ** 0.5, rel=0.02)
    query = mapper.middle.attention.to_q  # 128 -> 128 channels
    assert query.weight.std().item() == pytest.approx(gain / 128**0.5, rel=0.02)
    layers = [
        layer for layer in mapper.modules() if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None
    ]
    assert all(layer.bias.eq(0).all() for layer in layers)


def test_a_unit_is_a_preactivation_residual_block_then_single_head_attention():
    """Written out with plain tensor operations."""
    torch.manual_seed(0)
    unit = ResidualAttentionUnit(16, 32).double()
    for parameter in unit.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 16, 3, 4, dtype=torch.float64)

    norm1, prelu1, conv1, norm2, prelu2, conv2 = unit.residual
    h = functional.group_norm(x, 16, norm1.weight, norm1.bias, 1e-6)
    h = functional.conv2d(functional.prelu(h, prelu1.weight), conv1.weight, conv1.bias, padding=1)
    h = functional.group_norm(h, 16, norm2.weight, norm2.bias, 1e-6)
    h = functional.conv2d(functional.prelu(h, prelu2.weight), conv2.weight, conv2.bias, padding=1)
    h = h + torch.einsum("oi,bihw->bohw", unit.shortcut.weight[:, :, 0, 0], x)

    attention = unit.attention
    norm = attention.group_norm
    tokens = functional.group_norm(h, 16, norm.weight, norm.bias, 1e-6).flatten(2).transpose(1, 2)
    query, key, value = (
        tokens @ layer.weight.T + layer.bias for layer in (attention.to_q, attention.to_k, attention.to_v)
    )
    weights = (query @ key.transpose(1, 2) / 32**0.5).softmax(dim=-1)
    out = attention.to_out[0]
    expected = h + ((weights @ value) @ out.weight.T + out.bias).transpose(1, 2).reshape(2, 32, 3, 4)

    torch.testing.assert_close(unit(x), expected)


def test_every_parameter_gets_a_gradient():
    torch.manual_seed(0)
    mapper = LatentMapper(4, 8)
    mapper(torch.randn(2, 4, 4, 4)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in mapper.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in mapper.parameters() if parameter.dim() > 1)
