from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from custom.errors import InputError
from custom.first_stage import model as first_stage_module
from custom.inferers import BranchInferer
from custom.labels import LabelCodec
from custom.networks import SemiGDA
from tests.conftest import count_parameters

KINDS = ("kl", "tiny", "taef2")


def record_inputs(module):
    """List that fills with the first input of `module` at each call."""
    seen = []
    module.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    return seen


def trainable(network):
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


# Size


@pytest.fixture(scope="module")
def full_size(stable_diffusion_first_stage):
    with torch.device("meta"):
        return SemiGDA(stable_diffusion_first_stage).eval()


def test_the_parts_have_their_numbers_of_parameters(full_size):
    assert count_parameters(full_size.first_stage) == 83_653_863
    assert count_parameters(full_size.trainable_encoder) == 49_743_728
    assert count_parameters(full_size.latent_mapper) == 1_556_464
    assert count_parameters(full_size.image_adapters) == count_parameters(full_size.mask_adapters) == 17_592_704
    assert sum(parameter.numel() for parameter in trainable(full_size).values()) == 86_485_600


def test_both_branches_have_the_size_of_the_image(full_size, monkeypatch):
    monkeypatch.setattr(first_stage_module, "_in_full_precision", lambda module, h: module(h))  # no autocast for meta
    branches = full_size.predict_branches(torch.empty(1, 3, 224, 224, device="meta"))
    assert branches.image_branch.shape == branches.mask_branch.shape == (1, 1, 224, 224)


def test_the_cnn_is_as_wide_as_the_first_stage_unless_a_width_is_given(make_network):
    assert make_network().trainable_encoder.widths == (8, 16, 16)
    assert make_network(width=4).trainable_encoder.widths == (4, 8, 16)


def test_a_width_grows_fourfold_at_most(stable_diffusion_first_stage):
    with torch.device("meta"):
        network = SemiGDA(stable_diffusion_first_stage, width=16)
    assert network.trainable_encoder.widths == (16, 32, 64, 64)


@pytest.mark.parametrize("kind", KINDS)
def test_any_width_fits_the_decoder(kind, make_network, images):
    network = make_network(kind, width=6).eval()
    assert network(images).shape == (2, 1, 16, 16)


def test_encoder_and_decoder_of_the_first_stage_may_differ_in_width(make_first_stage, images):
    first_stage = make_first_stage("tiny", decoder_block_out_channels=[12, 12, 12])
    assert (first_stage.encoder_widths, first_stage.decoder_widths) == ((8, 8, 8), (12, 12, 12))
    assert SemiGDA(first_stage, mapper_width=8).eval()(images).shape == (2, 1, 16, 16)


def test_a_narrow_cnn_narrows_the_mask_adapters_only(make_network):
    wide, narrow = make_network(), make_network(width=2)
    assert count_parameters(narrow.image_adapters) == count_parameters(wide.image_adapters)
    assert count_parameters(narrow.mask_adapters) < count_parameters(wide.mask_adapters)


# Prediction


@pytest.mark.parametrize("kind", KINDS)
def test_the_prediction_is_the_mean_of_both_branches(kind, make_network, images):
    network = make_network(kind).eval()
    branches = network.predict_branches(images)
    assert not torch.equal(branches.image_branch, branches.mask_branch)
    assert torch.equal(network(images), (branches.image_branch + branches.mask_branch) / 2)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_predictions_range_from_zero_to_the_last_class(num_classes, make_network, images):
    network = make_network(num_classes=num_classes).eval()
    with torch.no_grad():
        network.first_stage.autoencoder.decoder.conv_out.weight.mul_(100)
    prediction = torch.cat(network.predict_branches(images))
    assert network.num_classes == num_classes
    assert prediction.min() == 0
    assert prediction.max() == num_classes - 1


def test_a_grey_image_equals_its_three_channel_repeat(make_network):
    network = make_network().eval()
    grey = torch.rand(2, 1, 16, 16)
    assert torch.equal(network(grey), network(grey.repeat(1, 3, 1, 1)))


def test_both_encoders_see_images_from_minus_one_to_one(make_network, images):
    network = make_network().eval()
    first_stage_inputs = record_inputs(network.first_stage.autoencoder.encoder.conv_in)
    cnn_inputs = record_inputs(network.trainable_encoder)
    network(images)
    assert torch.equal(first_stage_inputs[0], 2 * images - 1)
    assert torch.equal(cnn_inputs[0], 2 * images - 1)


def test_images_of_an_odd_size_are_refused_with_a_fitting_size(make_network, message_of):
    with pytest.raises(InputError, match="18 x 16 .* multiples of 4, for example 16 x 16") as error:
        make_network()(torch.zeros(1, 3, 18, 16))
    message_of(error)


def test_the_latent_of_labels_is_that_of_their_image_without_gradient(make_network):
    network = make_network(num_classes=3).train()
    labels = torch.randint(0, 3, (2, 1, 16, 16)).float()
    grey = (labels - 1).repeat(1, 3, 1, 1)  # 0, 1, 2 -> -1, 0, 1
    latent = network.encode_labels(labels)
    assert torch.equal(latent, network.first_stage.autoencoder.encode(grey).latent_dist.mean * 0.25)
    assert not latent.requires_grad


def test_the_divisor_and_range_of_the_labels_are_passed_on(make_network):
    codec = make_network(label_divisor="K", label_range="unsigned").label_codec
    assert (codec.top, codec.signed) == (2, False)


# A smaller image for the first stage


def test_the_first_stage_and_the_cnn_see_the_mean_over_squares_of_pixels(make_network, images):
    network = make_network(first_stage_scale=0.5).eval()
    seen = [record_inputs(network.first_stage.autoencoder.encoder.conv_in), record_inputs(network.trainable_encoder)]
    network(images)
    half = images.unflatten(3, (8, 2)).unflatten(2, (8, 2)).mean(dim=(3, 5))
    for inputs in seen:
        torch.testing.assert_close(inputs[0], 2 * half - 1)
    bilinear = interpolate(images, scale_factor=0.5, mode="bilinear")
    torch.testing.assert_close(half, bilinear)


def test_a_pretrained_encoder_sees_the_whole_image(make_network):
    images = torch.rand(2, 3, 32, 32)
    network = make_network(width=4, encoder="efficientnet-lite0", first_stage_scale=0.5).eval()
    seen = record_inputs(network.trainable_encoder)
    network(images)
    assert torch.equal(seen[0], 2 * images - 1)


@pytest.mark.parametrize("scale", [0.5, 0.25])
def test_the_masks_of_a_smaller_image_are_enlarged_bilinearly(scale, make_network):
    images = torch.rand(2, 3, 16, 32)
    scaled, whole = make_network(first_stage_scale=scale).eval(), make_network().eval()
    small = interpolate(images, scale_factor=scale, mode="area")
    for actual, expected in zip(scaled.predict_branches(images), whole.predict_branches(small), strict=True):
        assert actual.shape == (2, 1, 16, 32)
        torch.testing.assert_close(actual, interpolate(expected, scale_factor=1 / scale, mode="bilinear"))


def test_the_latent_of_labels_is_that_of_their_smaller_image(make_network):
    scaled, whole = make_network(first_stage_scale=0.5), make_network()
    labels = torch.randint(0, 2, (2, 1, 8, 8)).float()
    enlarged = labels.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert torch.equal(scaled.encode_labels(enlarged), whole.encode_labels(labels))
    unsigned = LabelCodec(2, value_range="unsigned")
    assert torch.equal(scaled.encode_labels(enlarged, unsigned), whole.first_stage.encode(unsigned.encode(labels)).mean)


def test_a_smaller_image_must_fit_the_first_stage(make_network, message_of):
    network = make_network(first_stage_scale=0.5)
    network.check_size(torch.empty(1, 3, 8, 16))
    with pytest.raises(InputError, match="12 x 16 .* multiples of 8, for example 16 x 16") as error:
        network(torch.zeros(1, 3, 12, 16))
    message_of(error)


# The prediction


def test_the_weight_of_the_image_branch_makes_the_prediction(make_network, images):
    for weight in (0.25, 1.0):
        network = make_network(image_branch_weight=weight).eval()
        image_branch, mask_branch = network.predict_branches(images)
        torch.testing.assert_close(network(images), weight * image_branch + (1 - weight) * mask_branch)
        assert torch.equal(BranchInferer()(images, network)[:, :1], network(images))


@pytest.mark.parametrize("adapters", ["both", "none"])
def test_without_a_weight_the_image_branch_is_left_out(adapters, make_network, images):
    network = make_network(image_branch_weight=0, adapters=adapters, first_stage_scale=0.5).eval()
    mask_branch = network.predict_branches(images).mask_branch
    seen = record_inputs(network.first_stage.autoencoder.encoder.conv_in)
    torch.testing.assert_close(network(images), mask_branch)
    assert not seen
    torch.testing.assert_close(BranchInferer()(images, network)[:, :1], mask_branch)


# Palette


def test_with_two_classes_a_palette_changes_no_bit(make_network, images):
    ordinal, palette = make_network(), make_network(label_code="palette")
    labels = torch.randint(2, (2, 1, 16, 16)).float()
    assert torch.equal(palette.encode_labels(labels), ordinal.encode_labels(labels))
    assert torch.equal(palette.eval()(images), ordinal.eval()(images))
    assert (ordinal.hard_labels, palette.hard_labels) == (False, False)


@pytest.mark.parametrize("num_classes", [3, 4])
def test_with_a_palette_the_prediction_is_the_class_of_the_largest_mean_membership(num_classes, make_network, images):
    network = make_network(num_classes=num_classes, label_code="palette").eval()
    branches = network.predict_branches(images)
    assert all(branch.shape == (2, num_classes, 16, 16) for branch in branches)
    torch.testing.assert_close(branches.mask_branch.sum(dim=1), torch.ones(2, 16, 16))
    prediction = network(images)
    assert network.hard_labels
    assert torch.equal(prediction, sum(branches).argmax(dim=1, keepdim=True).float())
    assert torch.equal(BranchInferer()(images, network)[:, :1], prediction)


def test_with_a_palette_a_gradient_reaches_all_that_is_trained(make_network, images):
    network = make_network(num_classes=4, label_code="palette", adapter_init="default").train()
    sum(branch[:, 2].sum() for branch in network.predict_branches(images)).backward()
    assert all(parameter.grad is not None for parameter in trainable(network).values())
    for part in (network.trainable_encoder, network.latent_mapper, network.image_adapters, network.mask_adapters):
        assert any(parameter.grad.any() for parameter in part.parameters())


# One decoder pass for both branches


def decode_separately(network, latents):
    """Both branches one after the other, each with its own adapters and skips."""
    image = network.first_stage.decode(
        latents.image_branch, lambda level, h: network.image_adapters(level, h, latents.image_skips[level])
    )
    mask = network.first_stage.decode(
        latents.mask_branch, lambda level, h: network.mask_adapters(level, h, latents.mask_skips[level])
    )
    return network.label_codec.decode(image), network.label_codec.decode(mask)


@pytest.mark.parametrize("kind", KINDS)
def test_one_decoder_pass_equals_two(kind, make_network, images):
    """In double precision nothing but rounding could differ, in the outputs and in every gradient."""
    outputs, gradients = [], []
    for decode in (SemiGDA.decode_latents, decode_separately):
        network = make_network(kind).double().train()
        torch.manual_seed(2)
        image_branch, mask_branch = decode(network, network.encode_images(images.double(), with_noise=True))
        ((image_branch - 0.3).square() + (mask_branch - 0.9).abs()).sum().backward()
        outputs.append((image_branch, mask_branch))
        gradients.append({name: parameter.grad for name, parameter in trainable(network).items()})
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-11)


# What is frozen and what is trained


def test_only_the_first_stage_stays_in_evaluation_mode(make_network):
    network = make_network().train()
    training = {name for name, module in network.named_modules() if module.training}
    frozen = {name for name, _ in network.named_modules() if name.split(".")[0] == "first_stage"}
    assert training == {name for name, _ in network.named_modules()} - frozen


# Adapters


def plain_decoding(network, images):
    latents = network.encode_images(images)
    decode = network.first_stage.decode
    return [network.label_codec.decode(decode(latent)) for latent in (latents.image_branch, latents.mask_branch)]


@pytest.mark.parametrize(("adapters", "branches_with"), [("none", []), ("image", [0]), ("mask", [1]), ("both", [0, 1])])
def test_a_branch_without_adapters_uses_the_plain_decoder(adapters, branches_with, make_network, images):
    network = make_network(adapters=adapters).eval()
    assert (network.image_adapters is not None) == (0 in branches_with)
    assert (network.mask_adapters is not None) == (1 in branches_with)
    branches = zip(network.predict_branches(images), plain_decoding(network, images), strict=True)
    differing = [index for index, (actual, plain) in enumerate(branches) if (actual - plain).abs().max() > 1e-3]
    assert differing == branches_with


@pytest.mark.parametrize("kind", KINDS)
def test_identity_adapters_leave_the_pretrained_decoder_as_it_is(kind, make_network, images):
    adapted = make_network(kind, adapter_init="identity").eval().predict_branches(images)
    plain = make_network(kind, adapters="none").eval().predict_branches(images)
    torch.testing.assert_close(adapted, plain, rtol=0, atol=1e-6)  # the memory layout, hence the rounding, may differ


# Latent of the Mask branch


def test_with_a_quant_conv_the_mask_latent_is_its_frozen_scaled_mean(make_network, images):
    network = make_network("kl").eval()
    moments, _ = network.trainable_encoder(2 * images - 1)
    expected = network.first_stage.autoencoder.quant_conv(moments)[:, :4] * 0.25
    assert network.latent_head is None
    assert torch.equal(network.encode_images(images).mask_branch, expected)


def test_without_a_quant_conv_a_trainable_convolution_takes_its_place(make_network, make_first_stage):
    for network in (make_network("tiny"), make_network(first_stage=make_first_stage("kl", use_quant_conv=False))):
        assert isinstance(network.latent_head, nn.Conv2d)
        assert network.latent_head.weight.shape == (4, 8, 1, 1)
        assert all(parameter.requires_grad for parameter in network.latent_head.parameters())


@pytest.mark.parametrize("encoder", ["none", "efficientnet-lite0"])
@pytest.mark.parametrize(("kind", "head"), [("kl", 0), ("tiny", 2)])
def test_the_encoders_parameters_include_its_head(kind, head, encoder, make_network):
    network = make_network(kind, encoder=encoder)
    parameters = network.encoder_parameters()
    assert len(parameters) == len(list(network.trainable_encoder.parameters())) + head
    assert all(parameter.requires_grad for parameter in parameters)


# Latent noise


@pytest.fixture
def coin(monkeypatch):
    """Function that fixes what the coin shows from now on and returns the list of tosses."""

    def fix(value):
        tosses = []
        monkeypatch.setattr(torch, "rand", lambda *size: tosses.append(size) or torch.tensor(value))
        return tosses

    return fix


def latent_seen_by_the_mapper(network, images, seed=7):
    seen = record_inputs(network.latent_mapper)
    torch.manual_seed(seed)
    network.predict_branches(images)
    return seen[0]


@pytest.mark.parametrize(("latent_noise", "factor"), [("unscaled", 1.0), ("scaled", 0.25)])
def test_noise_has_the_posteriors_width_with_or_without_the_scaling_factor(
    latent_noise, factor, make_network, images, coin
):
    network = make_network(latent_noise=latent_noise).train()
    coin(0.499)
    seen = latent_seen_by_the_mapper(network, images)
    mean = network.first_stage.encode(2 * images - 1).mean
    deviation = network.first_stage.autoencoder.encode(2 * images - 1).latent_dist.std
    torch.manual_seed(7)
    expected = mean + factor * deviation * torch.randn_like(mean)
    torch.testing.assert_close(seen, expected)


@pytest.mark.parametrize(("latent_noise", "toss"), [("off", 0.0), ("unscaled", 0.5), ("scaled", 0.999)])
def test_without_noise_the_mapper_sees_the_scaled_mean(latent_noise, toss, make_network, images, coin):
    network = make_network(latent_noise=latent_noise).train()
    coin(toss)
    expected = network.first_stage.encode(2 * images - 1).mean
    assert torch.equal(latent_seen_by_the_mapper(network, images), expected)


def test_one_coin_decides_for_the_whole_batch(make_network, images, coin):
    network = make_network().train()
    tosses = coin(0.1)
    difference = latent_seen_by_the_mapper(network, images) - network.first_stage.encode(2 * images - 1).mean
    assert len(tosses) == 1
    assert difference.abs().amin(dim=(1, 2, 3)).min() > 0


def test_the_coin_is_fair(make_network):
    network = make_network()
    torch.manual_seed(0)
    mean = torch.zeros(1)
    noisy = sum(network._add_noise(mean, mean).item() != 0 for _ in range(400))
    assert 160 < noisy < 240


def test_in_evaluation_mode_there_is_no_noise(make_network, images, coin):
    network = make_network().eval()
    tosses = coin(0.0)
    assert torch.equal(latent_seen_by_the_mapper(network, images), network.first_stage.encode(2 * images - 1).mean)
    assert tosses == []


def test_the_mask_branch_has_no_noise(make_network, images, coin):
    network = make_network(dropout=0.0).train()
    coin(0.0)
    noisy = network.encode_images(images, with_noise=True)
    quiet = network.encode_images(images, with_noise=False)
    assert not torch.equal(noisy.image_branch, quiet.image_branch)
    assert torch.equal(noisy.mask_branch, quiet.mask_branch)


# State and architecture


def test_the_trainable_state_has_all_but_the_first_stage(make_network):
    network = make_network()
    keys = network.trainable_state_dict().keys()
    assert keys == {key for key in network.state_dict() if not key.startswith("first_stage.")}
    assert {key.split(".")[0] for key in keys} == {
        "trainable_encoder",
        "latent_mapper",
        "image_adapters",
        "mask_adapters",
    }


def test_the_trainable_state_is_loaded_beside_the_first_stage(make_network, images):
    source = make_network("tiny").eval()
    target = SemiGDA(source.first_stage, mapper_width=8).eval()
    assert not torch.equal(target(images), source(images))
    target.load_trainable_state_dict(source.trainable_state_dict())
    assert torch.equal(target(images), source(images))


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_a_trainable_state_that_lacks_or_adds_something_is_refused(change, make_network):
    network = make_network()
    state = network.trainable_state_dict()
    if change == "missing":
        del state["latent_mapper.conv_in.bias"]
    else:
        state["latent_mapper.conv_in.extra"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match=f"{change} .*latent_mapper.conv_in"):
        network.load_trainable_state_dict(state)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_classes": 4, "width": 4, "adapters": "mask", "adapter_init": "identity", "dropout": 0.3},
        {"latent_noise": "scaled", "label_divisor": "K", "label_range": "unsigned", "adapters": "none"},
        {"num_classes": 3, "label_code": "palette"},
    ],
)
def test_the_architecture_makes_the_same_network(kind, arguments, make_network, images):
    network = make_network(kind, **arguments).eval()
    rebuilt = SemiGDA.from_architecture(network.architecture).eval()
    rebuilt.load_state_dict(network.state_dict())
    assert rebuilt.architecture == network.architecture
    assert {key: rebuilt.architecture[key] for key in arguments} == arguments
    assert torch.equal(rebuilt(images), network(images))


def test_the_first_stage_may_be_given_as_a_configuration(make_first_stage):
    architecture = make_first_stage("kl").architecture
    assert SemiGDA(architecture, mapper_width=8).first_stage.architecture == architecture


def test_the_first_stage_may_be_given_as_a_folder_and_subfolder(make_first_stage, tmp_path, images):
    first_stage = make_first_stage("kl")
    first_stage.autoencoder.save_pretrained(tmp_path / "vae")
    network = SemiGDA(str(tmp_path), mapper_width=8, subfolder="vae")
    assert torch.equal(network.first_stage.encode(images).mean, first_stage.encode(images).mean)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"adapters": "all"}, "adapters 'all': choose 'both', 'image', 'mask' or 'none'"),
        ({"latent_noise": "on"}, "latent_noise 'on': choose 'unscaled', 'scaled' or 'off'"),
        ({"adapter_init": "zero"}, "adapter_init 'zero'"),
        ({"num_classes": 1}, "num_classes is 1"),
        ({"label_range": "both"}, "value_range 'both'"),
        ({"encoder": "efficientnet"}, "encoder 'efficientnet': choose one of none"),
        ({"first_stage_scale": 0.7}, "first_stage_scale 0.7: choose one of 1.0, 0.5, 0.25, 0.125"),
        ({"image_branch_weight": 1.5}, "image_branch_weight 1.5: give a share from 0 to 1"),
    ],
)
def test_an_unknown_choice_is_one_line(arguments, words, make_network, message_of):
    with pytest.raises(InputError) as error:
        make_network(**arguments)
    assert words in message_of(error)
