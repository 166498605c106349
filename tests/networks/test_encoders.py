from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from monai.networks.blocks import BaseEncoder
from monai.networks.nets import FLEXUNET_BACKBONE
from torch import nn

from custom.errors import InputError
from custom.networks import (
    AttentionUNet,
    SCDLUNet,
    UNet,
    UNetPair,
    UNetWithInherentConsistency,
    UNetWithPyramid,
    UNetWithRectifier,
    UNetWithTeacher,
    build_encoder,
)
from custom.networks.encoders import UNetEncoder

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
    with pytest.raises(InputError, match="encoder .*: choose one of none, efficientnet-lite0") as error:
        build_encoder(name, 3)
    assert len(message_of(error)) < 220


@pytest.mark.parametrize(("name", "meant"), [("non", "none"), ("efficientnet-lit0", "efficientnet-lite0")])
def test_a_mistyped_name_gets_a_hint(name, meant, message_of):
    with pytest.raises(InputError, match=f"did you mean '{meant}'") as error:
        UNet(encoder=name)
    assert message_of(error).startswith(f"encoder '{name}'")


class Coarse(nn.Module, BaseEncoder):
    """An encoder that a user registers with MONAI: three resolutions, from a quarter of the size on."""

    def __init__(self, spatial_dims, in_channels, pretrained):
        super().__init__()
        assert (spatial_dims, pretrained) == (2, False)
        self.layers = nn.ModuleList(nn.Conv2d(in_channels, width, 1) for width in (5, 6, 7))

    def forward(self, images):
        return [layer(images[:, :, :: 2**level, :: 2**level]) for level, layer in enumerate(self.layers, start=2)]

    @classmethod
    def get_encoder_names(cls):
        return ["coarse"]

    @classmethod
    def get_encoder_parameters(cls):
        return [{"spatial_dims": 3, "in_channels": 1, "pretrained": True}]

    @classmethod
    def num_channels_per_output(cls):
        return [(5, 6, 7)]

    @classmethod
    def num_outputs(cls):
        return [3]


@pytest.mark.parametrize(
    "network",
    [UNet, AttentionUNet, SCDLUNet, UNetPair, UNetWithTeacher, UNetWithRectifier, UNetWithInherentConsistency],
)
def test_registering_with_monai_is_all_that_a_new_encoder_needs(network, monkeypatch):
    monkeypatch.setattr(FLEXUNET_BACKBONE, "register_dict", dict(FLEXUNET_BACKBONE.register_dict))
    FLEXUNET_BACKBONE.register_class(Coarse)
    built = network(encoder="coarse", widths=WIDTHS)
    deployed = built if isinstance(built, UNet) else built.deployed
    assert deployed.architecture["encoder"] == "coarse"
    assert deployed.decoder_widths == (96, 192, 7)
    assert deployed.all_logits(torch.rand(2, 3, 32, 48))[0].shape == (2, 2, 32, 48)
    assert isinstance(type(deployed).from_architecture(deployed.architecture).encoder.features, Coarse)


def test_a_pyramid_needs_five_resolutions(monkeypatch):
    monkeypatch.setattr(FLEXUNET_BACKBONE, "register_dict", dict(FLEXUNET_BACKBONE.register_dict))
    FLEXUNET_BACKBONE.register_class(Coarse)
    with pytest.raises(InputError, match="at least five resolutions"):
        UNetWithPyramid(encoder="coarse")


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "efficientnet-b0"])
@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
def test_features_halve_from_one_to_the_next_and_logits_have_the_size_of_the_images(name, size):
    network = UNet(3, encoder=name, seed=0).eval()
    features = network.encoder(torch.rand(1, 3, *size))
    assert [level.shape[1] for level in features] == list(network.encoder.widths)
    assert [level.shape[-1] for level in features] == [
        pytest.approx(size[1] / 2**level, abs=1) for level in range(1, 6)
    ]
    assert network.logits(torch.rand(1, 3, *size)).shape == (1, 3, *size)


def test_decoder_widths_are_one_for_each_skip():
    assert UNet(encoder="efficientnet-lite0", decoder_widths=(4, 4, 8, 8)).decoder_widths == (4, 4, 8, 8, 320)
    with pytest.raises(InputError, match=r"decoder_widths \[4, 4\]: encoder 'efficientnet-lite0' needs 4"):
        UNet(encoder="efficientnet-lite0", decoder_widths=(4, 4))


def test_an_encoder_without_timm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="encoder 'timm:resnet34' needs timm, which is not there .*: install it"):
        build_encoder("timm:resnet34", 3)


def test_an_encoder_of_timm_has_its_widths_and_normalisation(monkeypatch):
    features = nn.Sequential(nn.Conv2d(3, 4, 1))
    features.forward = lambda images: [images[:, :, ::4, ::4], images[:, :, ::8, ::8]]
    features.feature_info = SimpleNamespace(channels=lambda: [3, 3])
    features.default_cfg = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    asked = {}
    timm = SimpleNamespace(create_model=lambda name, **options: asked.update(options, name=name) or features)
    monkeypatch.setitem(sys.modules, "timm", timm)
    encoder = build_encoder("timm:tiny", 3)
    assert encoder.widths == (3, 3)
    assert asked == {"name": "tiny", "pretrained": False, "features_only": True, "in_chans": 3}
    assert torch.equal(encoder(torch.full((1, 3, 16, 16), 0.75))[0], torch.ones(1, 3, 4, 4))
    assert UNet(encoder="timm:tiny").logits(torch.rand(1, 3, 16, 16)).shape == (1, 2, 16, 16)


@pytest.mark.parametrize("lacks", [["encoder"], ["encoder", "decoder_widths"]])
def test_an_architecture_from_before_encoders_had_names_is_that_of_none(lacks):
    network = UNet(3, widths=WIDTHS)
    former = {key: value for key, value in network.architecture.items() if key not in lacks}
    assert UNet.from_architecture(former).architecture == network.architecture
