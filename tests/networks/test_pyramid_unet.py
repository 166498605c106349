from __future__ import annotations

import pytest
import torch

from custom.errors import InputError
from custom.networks import PyramidUNet, UNet
from custom.networks.pyramid_unet import drop_attended_pixels, scale_randomly

WIDTHS = (4, 8, 8, 8, 8)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return PyramidUNet(UNet(num_classes=3, widths=WIDTHS)).eval()


def test_four_answers_have_the_size_of_the_images_and_the_main_one_comes_first(network):
    images = torch.rand(2, 3, 32, 48)
    answers = network.all_logits(images)
    assert [answer.shape for answer in answers] == [(2, 3, 32, 48)] * 4
    assert torch.equal(answers[0], network.deployed.logits(images))


def test_further_answers_come_from_a_half_a_quarter_and_an_eighth_of_the_size(network):
    for answer, factor in zip(network.all_logits(torch.rand(1, 3, 32, 32))[1:], (2, 4, 8), strict=True):
        blocks = answer.unfold(2, factor, factor).unfold(3, factor, factor).flatten(start_dim=4)
        assert torch.equal(blocks, blocks[..., :1].expand_as(blocks))
        assert len(blocks[0, 0, :, :, 0].unique()) == (32 // factor) ** 2


def test_with_more_than_five_resolutions_the_three_finest_below_the_last_get_heads():
    network = PyramidUNet(UNet(widths=(4, 8, 12, 16, 20, 24), dropout=(0.0,) * 6)).eval()
    assert [head.in_channels for head in network.further_heads] == [8, 12, 16]
    assert len(network.all_logits(torch.rand(1, 3, 64, 64))) == 4


def test_training_disturbs_the_further_answers_and_not_the_main_one():
    network = PyramidUNet(UNet(widths=WIDTHS, dropout=(0.0,) * 5)).train()
    images = torch.rand(2, 3, 32, 32)
    first, second = network.all_logits(images), network.all_logits(images)
    assert torch.equal(first[0], second[0])
    assert not any(torch.equal(*answers) for answers in zip(first[1:], second[1:], strict=True))


def test_evaluation_disturbs_nothing(network):
    images = torch.rand(1, 3, 32, 32)
    first, second = network.all_logits(images), network.all_logits(images)
    assert all(torch.equal(*answers) for answers in zip(first, second, strict=True))


def test_for_inference_a_plain_unet_with_the_same_weights_remains(network):
    deployed = network.inference_network()
    assert type(deployed) is UNet
    assert deployed.heads[0].weight is network.deployed.heads[0].weight
    assert not any("further_heads" in name for name in deployed.state_dict())
    assert network.architecture == deployed.architecture
    images = torch.rand(1, 3, 32, 32)
    again = UNet.from_architecture(network.architecture).eval()
    again.load_state_dict(deployed.state_dict())
    assert torch.equal(network(images), again(images))


def test_parameters_are_those_of_the_unet_and_three_heads():
    # Heads: 2 * (32 + 64 + 128) * 9 weights and 3 * 2 biases.
    network = PyramidUNet(UNet())
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_813_762 + 2 * 224 * 9 + 6


def test_a_unet_of_fewer_resolutions_is_refused():
    with pytest.raises(InputError, match="at least five"):
        PyramidUNet(UNet(widths=(4, 8, 8, 8), dropout=(0.0,) * 4))


def test_pixels_of_the_highest_mean_are_dropped():
    # Means over channels: 10, 6.5, 9.5, 1; the threshold lies between 7 and 9.
    features = torch.tensor([[[[12.0, 6.0, 9.0, 0.0]], [[8.0, 7.0, 10.0, 2.0]]]])
    assert drop_attended_pixels(features).tolist() == [[[[0.0, 6.0, 0.0, 0.0]], [[0.0, 7.0, 0.0, 2.0]]]]


def test_dropping_compares_every_image_with_its_own_maximum():
    features = torch.tensor([10.0, 1.0, 0.1, 0.01]).reshape(2, 1, 1, 2)
    assert drop_attended_pixels(features).flatten().tolist() == pytest.approx([0, 1, 0, 0.01])


def test_the_share_of_the_maximum_is_drawn_between_its_limits():
    features = torch.linspace(0.01, 1, 100).reshape(1, 1, 10, 10)
    torch.manual_seed(0)
    kept = [int((drop_attended_pixels(features) > 0).sum()) for _ in range(200)]
    assert 69 <= min(kept) <= 71 and 88 <= max(kept) <= 90


def test_scaling_stays_within_its_limits_and_is_the_same_for_all_images():
    torch.manual_seed(0)
    scaled = scale_randomly(torch.ones(2, 4, 16, 16))
    assert torch.equal(scaled[0], scaled[1])
    assert 0.7 <= scaled.min() < 0.71 and 1.29 < scaled.max() <= 1.3
    assert len(scaled[0].unique()) > 900
