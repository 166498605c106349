from __future__ import annotations

import pytest
import torch

from custom.networks import SCDLUNet, UNet

WIDTHS = (4, 6, 8, 10, 12)
BOTH = ("bilinear", "transposed")


def make(network_class=SCDLUNet, num_classes=2, seed=0, injected=False, **settings):
    torch.manual_seed(seed)
    network = network_class(num_classes, **{"widths": WIDTHS, **settings})
    if injected:
        for parameter in network.injections.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def make_images(*size):
    return torch.rand(2, 3, *(size or (32, 32)), generator=torch.Generator().manual_seed(1))


def input_of_stage(network, decoder, stage, images):
    seen = []
    hook = network.decoders[decoder].stages[stage].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network.all_logits(images)
    hook.remove()
    return seen[0]


def test_number_of_parameters():
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in SCDLUNet().parameters()) == 2_709_730


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("upsampling", [("bilinear",), BOTH])
def test_starts_as_exactly_the_plain_unet_of_the_same_seed(upsampling, training):
    images = make_images()
    ours = make(upsampling=upsampling).train(training)
    plain = make(UNet, upsampling=upsampling).train(training)
    torch.manual_seed(2)
    logits = ours.all_logits(images)
    torch.manual_seed(2)
    expected = plain.all_logits(images)
    assert len(logits) == len(upsampling)
    for mine, theirs in zip(logits, expected, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("stage", range(4))
def test_what_is_injected_is_added_to_the_stages_input(stage):
    network = make(upsampling=BOTH).eval()
    images = make_images()
    before = input_of_stage(network, 1, stage, images)
    with torch.no_grad():
        network.injections[1][stage].bias.fill_(0.5)
    torch.testing.assert_close(input_of_stage(network, 1, stage, images), before + 0.5)


def test_the_first_stages_input_is_the_bottleneck_with_its_projected_priors():
    network = make(injected=True).eval()
    images = make_images()
    with torch.no_grad():
        bottleneck = network.encoder(images)[-1]
        priors = network.distributions(bottleneck).priors
        weight = network.injections[0][0].weight[:, :, 0, 0]
        projected = torch.einsum("cp,bphw->bchw", weight, priors) + network.injections[0][0].bias.view(1, -1, 1, 1)
    torch.testing.assert_close(input_of_stage(network, 0, 0, images), bottleneck + projected)


def test_decoders_have_injections_of_their_own():
    network = make(upsampling=BOTH).eval()
    images = make_images()
    before = network.all_logits(images)
    torch.nn.init.ones_(network.injections[1][2].bias)
    after = network.all_logits(images)
    assert torch.equal(after[0], before[0])
    assert not torch.equal(after[1], before[1])


def test_logits_come_with_the_distributions_of_one_pass_of_the_encoder():
    network = make(injected=True, upsampling=BOTH).eval()
    passes = []
    network.encoder.register_forward_hook(lambda *_: passes.append(1))
    images = make_images()
    both, found = network.all_logits_with_distributions(images)
    assert len(passes) == 1
    first, found_again = network.logits_with_distributions(images)
    assert torch.equal(first, both[0])
    assert torch.equal(found.similarities, found_again.similarities)
    assert found.grid == (2, 2)
    assert torch.equal(network.logits(images), first)
    assert all(torch.equal(*pair) for pair in zip(network.all_logits(images), both, strict=True))


def test_tokens_are_the_positions_of_the_bottleneck():
    network = make().eval()
    images = make_images(32, 48)
    bottleneck = network.encoder(images)[-1]
    _, found = network.logits_with_distributions(images)
    assert torch.equal(found.tokens, bottleneck.flatten(2).transpose(1, 2))


def test_evaluation_is_deterministic_and_training_is_not():
    network = make(injected=True, dropout=(0.0,) * 5)
    images = make_images()
    assert not torch.equal(network.logits(images), network.logits(images))
    network.eval()
    assert torch.equal(network.logits(images), network.logits(images))


def test_inference_network_is_the_first_decoder_with_its_injections():
    network = make(injected=True, upsampling=BOTH, num_classes=3).eval()
    smaller = network.inference_network()
    images = make_images()
    assert len(smaller.decoders) == len(smaller.injections) == 1
    assert smaller.architecture["upsampling"] == ["bilinear"]
    assert torch.equal(smaller.logits(images), network.logits(images))
    assert smaller.distributions is network.distributions
    assert smaller.inference_network() is smaller


def test_without_priors_it_answers_as_the_plain_network_that_it_leaves_for_inference():
    network = SCDLUNet(3, widths=(4, 8, 8, 8, 8), embedding_channels=8, seed=0, inject_priors=False).eval()
    plain = network.inference_network()
    images = torch.rand(1, 3, 32, 32)
    assert type(plain) is UNet
    assert torch.equal(plain.logits(images), network.logits(images))
    assert not list(network.injections.parameters())
    assert SCDLUNet.from_architecture(network.architecture).inject_priors is False
