from __future__ import annotations

import pytest
import torch
from torch import nn

from custom.networks import TrainableEncoder
from custom.networks.trainable_encoder import BasicBlock
from tests.conftest import count_parameters


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return TrainableEncoder((128, 256, 512, 512), 8)


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return TrainableEncoder((8, 16, 16), 8)


def test_the_encoder_has_its_number_of_parameters(full_size):
    assert count_parameters(full_size) == 49_743_728


def test_stem_stages_and_head_have_their_numbers_of_parameters(full_size):
    assert count_parameters(full_size.stem) == 3_840
    assert [count_parameters(stage) for stage in full_size.stages] == [3_280_384, 17_835_008, 28_587_008]
    assert count_parameters(full_size.head) == 37_488


def test_the_stages_have_three_four_and_six_blocks(full_size):
    assert [len(stage) for stage in full_size.stages] == [3, 4, 6]


def test_there_is_one_skip_for_each_resolution(full_size):
    moments, skips = full_size(torch.empty(2, 3, 224, 224, device="meta"))
    expected = [(128, 224, 224), (256, 112, 112), (512, 56, 56), (512, 28, 28)]
    assert [tuple(skip.shape[1:]) for skip in skips] == expected
    assert moments.shape == (2, 8, 28, 28)


def test_skips_are_taken_after_the_activation(tiny):
    _, skips = tiny(torch.randn(2, 3, 16, 16))
    for skip in skips:
        assert skip.min() == 0
        assert skip.max() > 0


def test_later_layers_do_not_change_the_skips(tiny):
    """In-place activations must not reach back into what was already handed out."""
    tiny.eval()
    images = torch.randn(1, 3, 16, 16)
    _, skips = tiny(images)
    assert torch.equal(skips[0], tiny.stem(images))
    assert torch.equal(skips[1], tiny.stages[0](tiny.stem(images)))


def test_moments_may_be_negative_but_leak_only_a_hundredth(tiny):
    tiny.eval()
    activation = tiny.head[-1]
    assert isinstance(activation, nn.LeakyReLU)
    assert activation.negative_slope == 0.01
    moments, _ = tiny(torch.randn(2, 3, 16, 16))
    assert moments.min() < 0


@pytest.mark.parametrize(("widths", "depths"), [((4, 8), [3]), ((4, 4, 4, 4, 4, 4), [3, 4, 6, 6, 6])])
def test_fewer_or_more_resolutions_are_possible(widths, depths):
    encoder = TrainableEncoder(widths, 6)
    assert [len(stage) for stage in encoder.stages] == depths
    size = 2 ** (len(widths) - 1)
    moments, skips = encoder(torch.randn(2, 3, 2 * size, size))
    assert moments.shape == (2, 6, 2, 1)
    assert len(skips) == len(widths)


def test_the_shortcut_is_projected_when_stride_or_width_change():
    assert isinstance(BasicBlock(4, 4).shortcut, nn.Identity)
    assert isinstance(BasicBlock(4, 8).shortcut, nn.Sequential)
    assert isinstance(BasicBlock(4, 4, stride=2).shortcut, nn.Sequential)


def test_a_block_adds_its_shortcut_before_the_last_activation():
    block = BasicBlock(3, 3).eval()
    nn.init.zeros_(block.residual[3].weight)
    x = torch.tensor([-2.0, 0.5, 3.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(block(x).flatten(), torch.tensor([0.0, 0.5, 3.0]))


def test_dropout_acts_in_training_mode_only():
    torch.manual_seed(0)
    encoder = TrainableEncoder((8, 16), 8, dropout=0.5)
    images = torch.randn(2, 3, 8, 8)
    assert not torch.equal(encoder(images)[0], encoder(images)[0])
    encoder.eval()
    assert torch.equal(encoder(images)[0], encoder(images)[0])


def test_convolutions_start_kaiming_normal_by_fan_out():
    torch.manual_seed(0)
    encoder = TrainableEncoder((32, 64, 64), 8)
    first = encoder.stages[0][0].residual[0]  # 32 -> 64 channels, 3 x 3
    assert first.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
