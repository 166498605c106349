from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from custom.errors import InputError
from custom.networks import UNet
from custom.networks.blocks import ConvolutionBlock
from custom.networks.encoders import UNetEncoder
from custom.networks.unet import UNetDecoder, soft_labels
from tests.conftest import count_parameters
from tests.methods.conftest import WIDTHS, make_unet

UPSAMPLINGS = ("bilinear", "transposed")


@pytest.fixture(autouse=True)
def same_random_numbers():
    torch.manual_seed(0)


def convolution(channels_in, channels_out, size=3):
    """Parameters of a convolution with its bias."""
    return channels_in * channels_out * size * size + channels_out


def block(channels_in, channels_out):
    """Parameters of two 3x3 convolutions with biases and two batch normalisations."""
    return convolution(channels_in, channels_out) + convolution(channels_out, channels_out) + 4 * channels_out


def tensors(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in shapes]


def with_moved_statistics(network):
    """The network in evaluation mode, its running statistics away from their start."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network.train()(torch.rand(4, 3, 32, 32))
    return network.eval()


# Size


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return UNet().eval()


def test_the_number_of_parameters_is_that_of_ssl4mis(full_size):
    assert count_parameters(full_size) == 1_813_762
    assert sum(parameter.numel() for parameter in full_size.parameters() if parameter.requires_grad) == 1_813_762


def test_the_parts_have_the_parameters_of_their_layers(full_size):
    widths = (16, 32, 64, 128, 256)
    inputs = (3, *widths[:-1])
    assert [count_parameters(part) for part in full_size.encoder.blocks] == [
        block(*pair) for pair in zip(inputs, widths, strict=True)
    ]
    pairs = [(256, 128), (128, 64), (64, 32), (32, 16)]
    assert [count_parameters(stage) for stage in full_size.decoders[0].stages] == [
        convolution(coarse, fine, size=1) + block(2 * fine, fine) for coarse, fine in pairs
    ]
    assert count_parameters(full_size.heads) == convolution(16, 2)


@pytest.mark.parametrize(("size", "multiplications"), [(224, 2.26), (256, 2.95)])
def test_the_multiplications_of_an_image_are_those_of_ssl4mis(size, multiplications, full_size):
    with FlopCounterMode(display=False) as counter:
        logits = full_size.logits(torch.empty(1, 3, size, size, device="meta"))
    assert logits.shape == (1, 2, size, size)
    assert round(counter.get_total_flops() / 2e9, 2) == multiplications


def test_channels_and_classes_change_the_ends_only():
    network = make_unet(num_classes=5, in_channels=1)
    assert network.logits(torch.rand(2, 1, 32, 32)).shape == (2, 5, 32, 32)
    plain = make_unet()
    shapes = [{key: value.shape for key, value in part.state_dict().items()} for part in (network, plain)]
    assert {key for key in shapes[0] if shapes[0][key] != shapes[1][key]} == {
        "encoder.blocks.0.first.conv.weight",
        "heads.0.weight",
        "heads.0.bias",
    }


# Blocks


def dropouts(module):
    return [part.p for part in module.modules() if isinstance(part, nn.Dropout)]


def test_the_encoder_drops_more_the_coarser_it_gets_and_the_decoder_nothing(full_size):
    assert [dropouts(part) for part in full_size.encoder.blocks] == [[0.05], [0.1], [0.2], [0.3], [0.5]]
    assert dropouts(full_size.decoders) == [0.0] * 4


def test_a_block_normalises_before_its_activation_and_drops_between_the_convolutions():
    kinds = (nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU, nn.Dropout)
    part, order = ConvolutionBlock(2, 3, 0.5), []
    for module in part.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda module, *_: order.append(type(module)))
    part(torch.rand(2, 2, 4, 4))
    conv, norm, activation, dropout = kinds
    assert order == [conv, norm, activation, dropout, conv, norm, activation]


def test_negative_values_keep_a_hundredth():
    slopes = {part.negative_slope for part in make_unet().modules() if isinstance(part, nn.LeakyReLU)}
    assert slopes == {0.01}


def block_by_hand(part, x, added=0.0):
    """The block in evaluation mode without dropout, in plain functions."""
    for number, layer in enumerate((part.first, part.second)):
        norm = layer.adn.N
        x = nn.functional.conv2d(x, layer.conv.weight, layer.conv.bias, padding=1)
        deviation = (norm.running_var + 1e-5).sqrt()
        x = (x - norm.running_mean[:, None, None]) / deviation[:, None, None]
        x = x * norm.weight[:, None, None] + norm.bias[:, None, None]
        x = torch.where(x > 0, x, 0.01 * x)
        if number == 0:
            x = x + added
    return x


def test_a_block_equals_its_formula():
    part, (x,) = ConvolutionBlock(2, 3, 0.5).eval(), tensors((2, 2, 5, 6))
    part.first.adn.N.running_mean += 0.3
    part.second.adn.N.running_var *= 2
    torch.testing.assert_close(part(x), block_by_hand(part, x))


def test_time_is_added_between_the_convolutions():
    part = ConvolutionBlock(2, 3, 0.5, time_channels=4).eval()
    x, time = tensors((2, 2, 5, 6), (2, 4))
    linear = part.time[1]
    added = (time * torch.sigmoid(time)) @ linear.weight.T + linear.bias
    torch.testing.assert_close(part(x, time), block_by_hand(part, x, added[:, :, None, None]))


def test_one_time_serves_a_whole_batch():
    part = ConvolutionBlock(2, 3, time_channels=4).eval()
    x, time = tensors((2, 2, 5, 6), (1, 4))
    torch.testing.assert_close(part(x, time), part(x, time.repeat(2, 1)))


# Encoder


def test_the_encoder_gives_the_features_of_each_resolution():
    features = make_unet().encoder(torch.rand(2, 3, 32, 48))
    assert [tuple(part.shape) for part in features] == [
        (2, width, 32 // 2**level, 48 // 2**level) for level, width in enumerate(WIDTHS)
    ]


def test_each_resolution_sees_the_maxima_of_the_finer_one():
    encoder = make_unet().encoder.eval()
    features = encoder(torch.rand(1, 3, 32, 32))
    maxima = features[0].unflatten(2, (16, 2)).unflatten(4, (16, 2)).amax(dim=(3, 5))
    torch.testing.assert_close(features[1], encoder.blocks[1](maxima))


def test_what_is_added_to_the_encoder_continues_to_the_next_resolution():
    encoder, x = make_unet().encoder.eval(), torch.rand(1, 3, 32, 32)
    plain = encoder(x)
    added = tensors(*(part.shape for part in plain))
    features = encoder(x, added=added)
    torch.testing.assert_close(features[0], plain[0] + added[0])
    for level in range(1, 5):
        pooled = nn.functional.max_pool2d(features[level - 1], 2)
        torch.testing.assert_close(features[level], encoder.blocks[level](pooled) + added[level])


def test_time_reaches_every_block_of_encoder_and_decoder():
    encoder, decoder = UNetEncoder(3, WIDTHS, time_channels=4), UNetDecoder(WIDTHS, time_channels=4)
    (time,) = tensors((2, 4))
    decoder(encoder(torch.rand(2, 3, 32, 32), time), time)[-1].square().mean().backward()
    blocks = [*encoder.blocks, *(stage.block for stage in decoder.stages)]
    assert len(blocks) == 9
    assert all(part.time[1].weight.grad.abs().sum() > 0 for part in blocks)


# Decoder


def test_the_decoder_gives_every_stage_the_coarsest_first():
    network = make_unet()
    outputs = network.decoders[0](network.encoder(torch.rand(2, 3, 32, 32)))
    assert [tuple(part.shape) for part in outputs] == [(2, 8, 4, 4), (2, 8, 8, 8), (2, 8, 16, 16), (2, 4, 32, 32)]


def doubled_by_hand(x):
    """Twice the size along the last axis, corner on corner: pixel i lies at i (n - 1) / (2 n - 1)."""
    size = x.shape[-1]
    place = np.arange(2 * size) * (size - 1) / (2 * size - 1)
    left = np.minimum(place.astype(int), size - 2)
    share = torch.tensor(place - left, dtype=x.dtype)
    return x[..., left] * (1 - share) + x[..., left + 1] * share


def test_bilinear_upsampling_has_its_corners_on_the_corners_and_goes_behind_the_skip():
    network = make_unet().eval()
    stage = network.decoders[0].stages[0]
    x, skip = tensors((1, 8, 3, 4), (1, 8, 6, 8))
    coarse = torch.einsum("oi,bihw->bohw", stage.up.weight[:, :, 0, 0], x) + stage.up.bias[:, None, None]
    fine = doubled_by_hand(doubled_by_hand(coarse).transpose(2, 3)).transpose(2, 3)
    expected = stage.block(torch.cat([skip, fine], dim=1))
    torch.testing.assert_close(stage(x, skip, None), expected, rtol=1e-4, atol=1e-5)


def test_transposed_upsampling_predicts_four_pixels_for_each():
    stage = make_unet(upsampling=("transposed",)).eval().decoders[0].stages[0]
    x, skip = tensors((1, 8, 3, 4), (1, 8, 6, 8))
    fine = torch.einsum("bihw,iokl->bohkwl", x, stage.up.weight).reshape(1, 8, 6, 8) + stage.up.bias[:, None, None]
    expected = stage.block(torch.cat([skip, fine], dim=1))
    torch.testing.assert_close(stage(x, skip, None), expected, rtol=1e-4, atol=1e-5)


def test_nearest_upsampling_repeats_every_pixel_and_takes_odd_sizes():
    stage = make_unet(upsampling=("nearest",)).eval().decoders[0].stages[0]
    x, skip = tensors((1, 8, 3, 4), (1, 8, 6, 8))
    coarse = torch.einsum("oi,bihw->bohw", stage.up.weight[:, :, 0, 0], x) + stage.up.bias[:, None, None]
    fine = coarse[:, :, [0, 0, 1, 1, 2, 2]][..., [0, 0, 1, 1, 2, 2, 3, 3]]
    torch.testing.assert_close(stage(x, skip, None), stage.block(torch.cat([skip, fine], dim=1)))
    assert stage(x, skip[..., :5, :7], None).shape == (1, 8, 5, 7)


def test_what_is_added_to_the_decoder_is_added_to_the_inputs_of_its_stages():
    network, x = make_unet().eval(), torch.rand(1, 3, 32, 32)
    decoder, features = network.decoders[0], network.encoder(x)
    plain = decoder(features)
    added = tensors(features[-1].shape, *(part.shape for part in plain[:-1]))
    outputs = decoder(features, added=added)
    inputs = [features[-1], *outputs[:-1]]
    for stage, before, more, skip, after in zip(decoder.stages, inputs, added, features[-2::-1], outputs, strict=True):
        torch.testing.assert_close(after, stage(before + more, skip, None))


def test_unknown_upsampling_names_the_choices():
    with pytest.raises(InputError, match="upsampling 'cubic': choose 'bilinear', 'transposed' or 'nearest'"):
        make_unet(upsampling=("cubic",))


# The whole network


def test_all_logits_are_those_of_every_decoder_on_one_encoder():
    network = make_unet(upsampling=UPSAMPLINGS)
    calls = []
    network.encoder.register_forward_hook(lambda *_: calls.append(1))
    first, second = network.all_logits(torch.rand(2, 3, 32, 32))
    assert len(calls) == 1
    assert first.shape == second.shape == (2, 2, 32, 32)
    assert not torch.allclose(first, second, atol=1e-3)


def test_two_decoders_share_nothing_beyond_the_encoder_and_differ_in_upsampling():
    network = make_unet(upsampling=UPSAMPLINGS)
    kinds = [{type(stage.up) for stage in decoder.stages} for decoder in network.decoders]
    assert kinds == [{nn.Conv2d}, {nn.ConvTranspose2d}]
    network.all_logits(torch.rand(2, 3, 32, 32))[1].square().mean().backward()
    learning = {".".join(name.split(".")[:2]) for name, p in network.named_parameters() if p.grad is not None}
    assert learning == {"encoder.blocks", "decoders.1", "heads.1"}


def test_the_first_decoder_predicts():
    network = with_moved_statistics(make_unet(upsampling=UPSAMPLINGS))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(network.logits(images), network.all_logits(images)[0])
    assert torch.equal(network(images), soft_labels(network.all_logits(images)[0]))
    assert network.branches == ("prediction",)


def test_the_inference_network_shares_the_weights_of_the_first_decoder_alone():
    network = with_moved_statistics(make_unet(upsampling=UPSAMPLINGS))
    slim, images = network.inference_network(), torch.rand(2, 3, 32, 32)
    assert (len(slim.decoders), len(slim.heads)) == (1, 1)
    assert slim.architecture == network.architecture | {"upsampling": ["bilinear"]}
    assert torch.equal(slim(images), network(images))
    own = {id(parameter) for parameter in network.parameters()}
    assert all(id(parameter) in own for parameter in slim.parameters())
    assert len(network.decoders) == 2


def test_with_one_decoder_it_is_the_inference_network_itself():
    network = make_unet()
    assert network.inference_network() is network


@pytest.mark.parametrize("upsampling", [("bilinear",), UPSAMPLINGS])
def test_the_architecture_builds_the_same_network_again(upsampling):
    network = make_unet(num_classes=3, in_channels=1, dropout=False, upsampling=upsampling)
    before = copy.deepcopy(network.architecture)
    again = UNet.from_architecture(network.architecture)
    assert again.architecture == network.architecture == before
    assert (again.num_classes, dropouts(again.encoder)) == (3, [0.0] * 5)
    again.load_state_dict(network.state_dict())
    images = torch.rand(2, 1, 32, 32)
    for one, other in zip(again.eval().all_logits(images), network.eval().all_logits(images), strict=True):
        assert torch.equal(one, other)


# Soft labels


def test_with_two_classes_the_soft_label_is_the_probability_of_the_foreground():
    logits = torch.tensor([[[[0.0, 1.0]], [[0.0, 3.0]]]])
    expected = torch.tensor([[[[0.5, 1 / (1 + math.exp(-2))]]]])
    torch.testing.assert_close(soft_labels(logits), expected)


def test_with_more_classes_the_soft_label_is_the_most_probable_class():
    logits = torch.tensor([[9.0, 0.0, 0.0, 8.0], [1.0, 0.0, 5.0, 1.0], [0.0, 2.0, 3.0, 1.0]])  # pixels x classes
    labels = soft_labels(logits.T[None, :, None])
    assert labels.dtype == torch.float32
    assert labels.tolist() == [[[[0.0, 2.0, 2.0]]]]


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_prediction_is_a_soft_label_of_the_images(num_classes):
    network = with_moved_statistics(make_unet(num_classes))
    images = torch.rand(2, 3, 32, 32)
    prediction = network(images)
    assert prediction.shape == (2, 1, 32, 32)
    assert torch.equal(prediction.round()[:, 0], network.logits(images).argmax(dim=1).float())


def test_soft_labels_of_bfloat16_logits_are_float32():
    assert soft_labels(torch.zeros(1, 2, 3, 3, dtype=torch.bfloat16)).dtype == torch.float32


# Other formats


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*legacy TorchScript-based ONNX")
@pytest.mark.parametrize("num_classes", [2, 3])
def test_onnx_predicts_the_same_at_other_sizes_too(num_classes, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    network, file = with_moved_statistics(make_unet(num_classes)), tmp_path / "model.onnx"
    axes = {"image": {0: "batch", 2: "width", 3: "height"}}
    image = torch.rand(1, 3, 32, 32)
    torch.onnx.export(network, (image,), str(file), dynamo=False, input_names=["image"], dynamic_axes=axes)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for size in (32, 48, 41):
        images = torch.rand(2, 3, size, size)
        (prediction,) = session.run(None, {"image": images.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(prediction, network(images).numpy(), rtol=0, atol=1e-4)
