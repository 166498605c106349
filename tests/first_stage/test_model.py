from __future__ import annotations

import json
import logging
import math

import pytest
import torch
from torch import nn

from custom.errors import InputError
from custom.first_stage import build_first_stage
from custom.first_stage import model as first_stage_module
from tests.conftest import count_parameters

KINDS = ("kl", "tiny", "taef2")
STABLE_DIFFUSION_SHAPES = [(128, 224, 224), (256, 112, 112), (512, 56, 56), (512, 28, 28)]


def unchanged(_level, features):
    return features


def record_entries(first_stage, latents):
    """What `decode` hands to `merge`, as pairs of level and features in the order of the calls."""
    entries = []

    def merge(level, features):
        entries.append((level, features))
        return features

    first_stage.decode(latents, merge)
    return entries


def record_outputs(modules, run):
    """Outputs of the modules while `run()` runs."""
    outputs = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output)) for module in modules
    ]
    run()
    for hook in hooks:
        hook.remove()
    return outputs


# Stable Diffusion's size


def test_stable_diffusion_has_its_number_of_frozen_parameters(stable_diffusion_first_stage):
    autoencoder = stable_diffusion_first_stage.autoencoder
    assert count_parameters(stable_diffusion_first_stage) == 83_653_863
    assert count_parameters(autoencoder.encoder) + count_parameters(autoencoder.quant_conv) == 34_163_592 + 72
    assert count_parameters(autoencoder.decoder) + count_parameters(autoencoder.post_quant_conv) == 49_490_179 + 20


def test_stable_diffusion_has_four_levels_and_eightfold_downsampling(stable_diffusion_first_stage):
    assert stable_diffusion_first_stage.levels == 4
    assert stable_diffusion_first_stage.downsampling == 8
    assert stable_diffusion_first_stage.latent_channels == 4
    assert stable_diffusion_first_stage.scaling_factor == 0.18215


def test_stable_diffusion_is_tapped_once_at_each_resolution(stable_diffusion_first_stage):
    posterior = stable_diffusion_first_stage.encode(torch.empty(2, 3, 224, 224, device="meta"))
    assert [tuple(skip.shape[1:]) for skip in posterior.skips] == STABLE_DIFFUSION_SHAPES
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 4, 28, 28)
    assert stable_diffusion_first_stage.encoder_widths == (128, 256, 512, 512)


def test_stable_diffusion_is_entered_once_at_each_resolution_from_the_coarsest(
    stable_diffusion_first_stage, monkeypatch
):
    monkeypatch.setattr(first_stage_module, "_in_full_precision", lambda module, h: module(h))  # no autocast for meta
    entries = record_entries(stable_diffusion_first_stage, torch.empty(1, 4, 28, 28, device="meta"))
    assert [level for level, _ in entries] == [3, 2, 1, 0]
    assert [tuple(features.shape[1:]) for _, features in entries] == STABLE_DIFFUSION_SHAPES[::-1]
    assert stable_diffusion_first_stage.decoder_widths == (128, 256, 512, 512)


# Agreement with diffusers


def test_kl_encoding_equals_diffusers(make_first_stage, images):
    first_stage = make_first_stage("kl")
    expected = first_stage.autoencoder.encode(images).latent_dist
    posterior = first_stage.encode(images)
    assert torch.equal(posterior.mean, expected.mean * 0.25)
    torch.testing.assert_close(posterior.log_variance, (expected.var * 0.25**2).log())


@pytest.mark.parametrize("kind", ["tiny", "taef2"])
def test_tiny_encoding_equals_diffusers(kind, make_first_stage, images):
    first_stage = make_first_stage(kind)
    assert torch.equal(first_stage.encode(images).mean, first_stage.autoencoder.encode(images).latents * 0.5)


@pytest.mark.parametrize("kind", ["tiny", "taef2"])
def test_a_tiny_autoencoder_is_as_sure_as_diffusers_lets_a_gaussian_be(kind, make_first_stage, images):
    log_variance = make_first_stage(kind).encode(images).log_variance
    torch.testing.assert_close(log_variance, torch.full_like(log_variance, -30 + 2 * math.log(0.5)))


@pytest.mark.parametrize("merge", [None, unchanged])
@pytest.mark.parametrize("kind", KINDS)
def test_decoding_equals_diffusers(kind, merge, make_first_stage):
    first_stage = make_first_stage(kind)
    latents = torch.randn(2, first_stage.latent_channels, 4, 4)
    expected = first_stage.autoencoder.decode(latents / first_stage.scaling_factor).sample
    assert torch.equal(first_stage.decode(latents, merge), expected)


def test_the_extreme_variances_are_clamped_as_in_diffusers(make_first_stage, images):
    first_stage = make_first_stage("kl")
    with torch.no_grad():
        first_stage.autoencoder.quant_conv.bias[4] = -1000.0
        first_stage.autoencoder.quant_conv.bias[5] = 1000.0
    log_variance = first_stage.encode(images).log_variance - 2 * math.log(0.25)
    torch.testing.assert_close(log_variance[:, 0], torch.full((2, 4, 4), -30.0))
    torch.testing.assert_close(log_variance[:, 1], torch.full((2, 4, 4), 20.0))


@pytest.mark.parametrize("kind", KINDS)
def test_the_shift_is_taken_off_before_scaling_and_put_back_after(kind, make_first_stage, images):
    plain = make_first_stage(kind, scaling_factor=1.0)
    shifted = make_first_stage(kind, scaling_factor=2.0, shift_factor=0.5)
    latents = plain.encode(images).mean
    torch.testing.assert_close(shifted.encode(images).mean, (latents - 0.5) * 2)
    torch.testing.assert_close(shifted.decode((latents - 0.5) * 2), plain.decode(latents))


def test_an_autoencoder_without_attention_and_quant_conv_works_too(make_first_stage, images):
    first_stage = make_first_stage(mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False)
    latents = first_stage.encode(images).mean
    assert torch.equal(latents, first_stage.autoencoder.encode(images).latent_dist.mean * 0.25)
    assert torch.equal(first_stage.decode(latents), first_stage.autoencoder.decode(latents / 0.25).sample)


# Taps and entries


def test_kl_taps_are_the_last_residual_blocks_before_downsampling(make_first_stage, images):
    first_stage = make_first_stage("kl", layers_per_block=2)
    blocks = [block.resnets[1] for block in first_stage.autoencoder.encoder.down_blocks]
    expected = record_outputs(blocks, lambda: first_stage.autoencoder.encode(images))
    skips = first_stage.encode(images).skips
    assert [tuple(skip.shape) for skip in skips] == [(2, 8, 16, 16), (2, 16, 8, 8), (2, 16, 4, 4)]
    assert all(torch.equal(skip, output) for skip, output in zip(skips, expected, strict=True))


def test_kl_entries_are_the_first_residual_blocks(make_first_stage):
    first_stage = make_first_stage("kl")
    latents = torch.randn(1, 4, 4, 4)
    blocks = [block.resnets[0] for block in first_stage.autoencoder.decoder.up_blocks]
    expected = record_outputs(blocks, lambda: first_stage.autoencoder.decode(latents / 0.25))
    entries = record_entries(first_stage, latents)
    assert [level for level, _ in entries] == [2, 1, 0]
    assert all(torch.equal(entry, output) for (_, entry), output in zip(entries, expected, strict=True))


@pytest.mark.parametrize("kind", ["tiny", "taef2"])
def test_tiny_taps_are_the_last_blocks_of_each_resolution(kind, make_first_stage, images):
    first_stage = make_first_stage(kind)
    blocks = [first_stage.autoencoder.encoder.layers[index] for index in (1, 3, 6)]
    expected = record_outputs(blocks, lambda: first_stage.autoencoder.encode(images))
    skips = first_stage.encode(images).skips
    assert [tuple(skip.shape) for skip in skips] == [(2, 8, 16, 16), (2, 8, 8, 8), (2, 8, 4, 4)]
    assert all(torch.equal(skip, output) for skip, output in zip(skips, expected, strict=True))


@pytest.mark.parametrize("kind", ["tiny", "taef2"])
def test_tiny_entries_are_the_first_blocks_of_each_resolution(kind, make_first_stage):
    first_stage = make_first_stage(kind)
    latents = torch.randn(1, first_stage.latent_channels, 4, 4)
    blocks = [first_stage.autoencoder.decoder.layers[index] for index in (2, 6, 9)]
    expected = record_outputs(blocks, lambda: first_stage.autoencoder.decode(latents / 0.5))
    entries = record_entries(first_stage, latents)
    assert [level for level, _ in entries] == [2, 1, 0]
    assert [entry.shape[-1] for _, entry in entries] == [4, 8, 16]
    assert all(torch.equal(entry, output) for (_, entry), output in zip(entries, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_what_merge_returns_takes_the_place_of_the_features(kind, make_first_stage):
    first_stage = make_first_stage(kind)
    latents = torch.randn(1, first_stage.latent_channels, 4, 4)
    if kind == "kl":
        entry = first_stage.autoencoder.decoder.up_blocks[1].resnets[0]
    else:
        entry = first_stage.autoencoder.decoder.layers[6]
    hook = entry.register_forward_hook(lambda _module, _inputs, output: 3 - output)
    expected = first_stage.autoencoder.decode(latents / first_stage.scaling_factor).sample
    hook.remove()
    assert torch.equal(first_stage.decode(latents, lambda level, h: 3 - h if level == 1 else h), expected)


# quant_conv on the moments of the CNN


def test_quantise_is_the_scaled_mean_half_of_quant_conv(make_first_stage):
    first_stage = make_first_stage("kl")
    moments = torch.randn(2, 8, 4, 4)
    weight = first_stage.autoencoder.quant_conv.weight[:4, :, 0, 0]
    bias = first_stage.autoencoder.quant_conv.bias[:4]
    expected = (torch.einsum("oc,bchw->bohw", weight, moments) + bias[:, None, None]) * 0.25
    torch.testing.assert_close(first_stage.quantise(moments), expected)


def test_quantise_passes_gradients_to_the_moments_but_not_to_quant_conv(make_first_stage):
    first_stage = make_first_stage("kl")
    moments = torch.randn(1, 8, 4, 4, requires_grad=True)
    first_stage.quantise(moments).sum().backward()
    assert moments.grad.abs().min() > 0
    assert first_stage.autoencoder.quant_conv.weight.grad is None


def test_quantise_gives_nothing_without_a_quant_conv(make_first_stage):
    assert make_first_stage("tiny").quantise(torch.zeros(1, 8, 4, 4)) is None
    assert make_first_stage("kl", use_quant_conv=False).quantise(torch.zeros(1, 8, 4, 4)) is None


# Frozen


@pytest.mark.parametrize("kind", KINDS)
def test_a_first_stage_is_frozen_and_stays_in_evaluation_mode(kind, make_first_stage):
    first_stage = make_first_stage(kind)
    nn.ModuleList([first_stage]).train()
    assert not any(module.training for module in first_stage.modules())
    assert not any(parameter.requires_grad for parameter in first_stage.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_encoding_records_no_gradient_and_its_skips_may_feed_trainable_layers(kind, make_first_stage, images):
    posterior = make_first_stage(kind).encode(images.requires_grad_())
    assert not any(tensor.requires_grad for tensor in (posterior.mean, posterior.log_variance, *posterior.skips))
    layer = nn.Conv2d(8, 1, 1)
    layer(posterior.skips[0]).sum().backward()  # an inference-mode tensor would be refused here
    assert layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_decoding_passes_gradients_to_the_latents_only(kind, make_first_stage):
    first_stage = make_first_stage(kind)
    latents = torch.randn(1, first_stage.latent_channels, 4, 4, requires_grad=True)
    first_stage.decode(latents).square().sum().backward()
    assert latents.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in first_stage.parameters())


# Sizes


def test_a_side_that_is_no_multiple_is_refused_with_a_fitting_size(make_first_stage, message_of):
    first_stage = make_first_stage("kl")
    with pytest.raises(InputError, match="30 x 17 .* multiples of 4, for example 32 x 16; set image_size") as error:
        first_stage.encode(torch.zeros(1, 3, 30, 17))
    message_of(error)


@pytest.mark.parametrize(("size", "fitting"), [((16, 3), "16 x 4"), ((0, 16), "4 x 16"), ((1, 1), "4 x 4")])
def test_the_size_proposed_is_never_zero(size, fitting, make_first_stage):
    with pytest.raises(InputError, match=f"for example {fitting};"):
        make_first_stage("tiny").encode(torch.zeros(1, 3, *size))


def test_sides_may_differ(make_first_stage):
    posterior = make_first_stage("kl").encode(torch.zeros(1, 3, 8, 20))
    assert posterior.mean.shape == (1, 4, 2, 5)


# Precision


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layers_stay_in_full_precision_under_autocast(kind, make_first_stage):
    first_stage = make_first_stage(kind)
    decoder = first_stage.autoencoder.decoder
    conv_out = decoder.conv_out if kind == "kl" else decoder.layers[-1]
    seen = []
    conv_out.register_forward_hook(lambda _module, inputs, output: seen.extend((inputs[0].dtype, output.dtype)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decoded = first_stage.decode(torch.randn(1, first_stage.latent_channels, 4, 4))
    assert decoded.dtype == torch.float32
    assert seen == [torch.float32, torch.float32]


def test_float64_stays_float64(make_first_stage, images):
    first_stage = make_first_stage("kl").double()
    assert first_stage.decode(first_stage.encode(images.double()).mean).dtype == torch.float64


# Building


@pytest.mark.parametrize("kind", KINDS)
def test_the_architecture_in_json_builds_the_same_first_stage_quietly(
    kind, make_first_stage, images, monkeypatch, caplog
):
    original = make_first_stage(kind, scaling_factor=0.7, shift_factor=0.1)
    monkeypatch.setattr(logging.getLogger("diffusers"), "propagate", True)  # diffusers hides its warnings from pytest
    rebuilt = build_first_stage(json.loads(json.dumps(original.architecture)))
    rebuilt.load_state_dict(original.state_dict())
    assert rebuilt.architecture == original.architecture
    assert (rebuilt.scaling_factor, rebuilt.shift_factor) == (0.7, 0.1)
    assert torch.equal(rebuilt.encode(images).mean, original.encode(images).mean)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_class_name": "AutoencoderDC"}, "AutoencoderDC"),
        ({"norm_num_groups": 3}, "AutoencoderKL cannot be built"),
        ({"down_block_types": ["AttnDownEncoderBlock2D"] * 3}, "AttnDownEncoderBlock2D"),
        ({"down_block_types": ["DownEncoderBlock2D"]}, "3 block_out_channels, but 1 down_block_types"),
        ({"block_out_channels": ["8", "16", "16"]}, "block_out_channels is ['8', '16', '16']; give whole numbers"),
        ({"block_out_channels": [8, 10**9, 16]}, "block_out_channels is [8, 1000000000, 16]; give whole numbers"),
        ({"block_out_channels": [8, 0, 16]}, "block_out_channels is [8, 0, 16]; give whole numbers"),
        ({"block_out_channels": [8192] * 3}, "parameters, 500,000,000 are possible"),
        ({"layers_per_block": 10**6}, "layers_per_block is 1000000; give whole numbers from 1 to 16"),
        ({"latent_channels": True}, "latent_channels is True; give whole numbers"),
        ({"scaling_factor": 0}, "scaling_factor is 0; give a number above 0"),
        ({"scaling_factor": float("nan")}, "scaling_factor is nan; give a number above 0"),
        ({"_class_name": ["AutoencoderKL"]}, "unknown autoencoder class"),
        ({"block_out_channels": [8] * 9}, "block_out_channels has 9 entries; at most 8 are possible"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_one_line(changes, words, make_first_stage, message_of):
    with pytest.raises(InputError) as error:
        make_first_stage("kl", **changes)
    assert words in message_of(error)
