from __future__ import annotations

import pytest
import torch

from custom.errors import InputError
from custom.networks import AttentionUNet, UNet
from custom.networks.attention_unet import ChannelAttention, SpatialAttention
from tests.conftest import count_parameters
from tests.methods.conftest import WIDTHS


def make_network(**arguments):
    return AttentionUNet(3, widths=WIDTHS, seed=0, **arguments).eval()


@torch.no_grad()
def test_channels_are_weighted_by_what_their_mean_and_maximum_give_together():
    attend = ChannelAttention(2)
    attend.mlp[0].weight.data = torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1)
    attend.mlp[2].weight.data = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    x = torch.tensor([[[[1.0, 3.0]], [[0.0, 2.0]]]])  # means 2 and 1, maxima 3 and 2: 1 each between the convolutions
    expected = x * torch.tensor([2.0, 4.0]).sigmoid().reshape(1, 2, 1, 1)
    torch.testing.assert_close(attend(x), expected)


@torch.no_grad()
def test_positions_are_weighted_by_a_convolution_of_mean_and_maximum_over_channels():
    attend = SpatialAttention()
    attend.convolution.weight.data.zero_()
    attend.convolution.weight.data[0, :, 3, 3] = torch.tensor([1.0, 10.0])
    x = torch.tensor([[[[1.0, 0.0]], [[3.0, -2.0]]]])
    expected = x * torch.tensor([2.0 + 30.0, -1.0 + 0.0]).sigmoid()
    torch.testing.assert_close(attend(x), expected)


def test_parameters_are_those_of_the_u_net_and_of_the_attention():
    # channels: 2 c^2 / 16 for 128, 64 and 32; positions: 2 * 7 * 7 for each of three stages
    channel, spatial = 2048 + 512 + 128, 3 * 98
    with torch.device("meta"):
        alone = {kind: count_parameters(AttentionUNet(attention=(kind,))) for kind in ("cbam", "spatial", "channel")}
    plain = 1_813_762
    assert alone == {"cbam": plain + channel + spatial, "spatial": plain + spatial, "channel": plain + channel}


@torch.no_grad()
def test_every_stage_but_the_last_attends_after_its_block():
    network, images = make_network(), torch.rand(1, 3, 32, 32)
    features = network.encoder(images)
    x = features[-1]
    for index, (stage, skip) in enumerate(zip(network.decoders[0].stages, features[-2::-1], strict=True)):
        attention, stage.attention = stage.attention, torch.nn.Identity()
        x = attention(stage(x, skip, None))
        stage.attention = attention
        assert isinstance(attention, torch.nn.Identity) == (index == 3)
    torch.testing.assert_close(network.scores(0, x, (32, 32)), network.logits(images))


def test_the_network_that_predicts_has_the_first_decoder_and_its_attention():
    slim = make_network().inference_network()
    assert (slim.architecture["attention"], slim.architecture["upsampling"]) == (["cbam"], ["bilinear"])
    assert len(slim.decoders) == 1


def test_without_its_attention_it_is_the_u_net():
    network, plain = make_network(attention=("spatial",)), UNet(3, widths=WIDTHS)
    missing = plain.load_state_dict(network.state_dict(), strict=False)
    assert not missing.missing_keys
    assert all(".attention." in name for name in missing.unexpected_keys)


def test_other_attention_and_another_number_of_up_samplings_are_refused():
    with pytest.raises(InputError, match="attention 'self': choose 'cbam', 'spatial' or 'channel'"):
        make_network(attention=("self",))
    with pytest.raises(InputError, match="reduction 0: give a whole number from 1"):
        make_network(reduction=0)
    with pytest.raises(InputError, match="give one entry for each of attention"):
        make_network(upsampling=("bilinear",))
