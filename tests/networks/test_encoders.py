from __future__ import annotations

import pytest
import torch
from torch import nn

from custom.errors import InputError
from custom.networks import SCDLUNet, UNet, UNetPair, UNetWithPyramid, UNetWithRectifier, UNetWithTeacher, build_encoder
from custom.networks.encoders import ENCODERS, UNetEncoder

WIDTHS = (4, 8, 8, 8, 8)


def test_none_is_the_encoder_of_the_unet_itself():
    encoder = build_encoder("none", 2, WIDTHS, (0.0,) * 5)
    assert isinstance(encoder, UNetEncoder)
    assert encoder.widths == WIDTHS
    assert [features.shape[1:] for features in encoder(torch.rand(1, 2, 32, 32))] == [
        (4, 32, 32),
        (8, 16, 16),
        (8, 8, 8),
        (8, 4, 4),
        (8, 2, 2),
    ]


@pytest.mark.parametrize("name", ["efficientnet", "", None, ["none"], "x" * 500])
def test_an_unknown_name_is_one_line_with_the_known_ones(name, message_of):
    with pytest.raises(InputError, match="encoder .*: choose 'none'") as error:
        build_encoder(name, 3)
    assert len(message_of(error)) < 150


def test_a_mistyped_name_gets_a_hint(message_of):
    with pytest.raises(InputError, match="did you mean 'none'") as error:
        UNet(encoder="non")
    assert message_of(error).startswith("encoder 'non'")


class Wide(nn.Module):
    """An encoder of other widths, without down-sampling blocks of its own."""

    def __init__(self, in_channels, widths, dropout):
        super().__init__()
        self.widths = (3, 5, 6, 7, 9)
        self.blocks = nn.ModuleList(nn.Conv2d(in_channels, width, 1) for width in self.widths)

    def forward(self, images):
        return [block(images[:, :, :: 2**level, :: 2**level]) for level, block in enumerate(self.blocks)]


@pytest.mark.parametrize("network", [UNet, SCDLUNet, UNetPair, UNetWithTeacher, UNetWithPyramid, UNetWithRectifier])
def test_a_line_in_the_list_is_all_that_a_new_encoder_needs(network, monkeypatch):
    monkeypatch.setitem(ENCODERS, "wide", Wide)
    built = network(encoder="wide", widths=WIDTHS)
    assert built.architecture["encoder"] == "wide"
    deployed = built if isinstance(built, UNet) else built.deployed
    assert isinstance(deployed.encoder, Wide)
    assert deployed.all_logits(torch.rand(2, 3, 32, 48))[0].shape == (2, 2, 32, 48)
    assert isinstance(type(deployed).from_architecture(deployed.architecture).encoder, Wide)


def test_an_architecture_from_before_encoders_had_names_is_that_of_none():
    network = UNet(3, widths=WIDTHS)
    former = {key: value for key, value in network.architecture.items() if key != "encoder"}
    assert UNet.from_architecture(former).architecture == network.architecture
