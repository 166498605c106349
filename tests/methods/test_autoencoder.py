from __future__ import annotations

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from diffusers import AutoencoderKL
from monai.engines.utils import IterationEvents
from torch import nn

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.methods import AutoencoderEvaluator, AutoencoderTrainer

CPU = torch.device("cpu")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=[8, 16],
        down_block_types=["DownEncoderBlock2D"] * 2,
        up_block_types=["UpDecoderBlock2D"] * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
    )


class Shift(nn.Module):
    """An autoencoder that returns its input plus a constant."""

    def __init__(self, shift):
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(shift))

    def encode(self, images):
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: images))

    def decode(self, latents):
        return SimpleNamespace(sample=latents + self.shift)


def make_batch():
    generator = torch.Generator().manual_seed(1)
    return {
        "labelled": {
            "image": torch.rand(2, 3, 16, 16, generator=generator),
            "label": torch.randint(3, (2, 1, 16, 16), generator=generator).float(),
        },
        "unlabelled": {"image": torch.rand(1, 3, 16, 16, generator=generator)},
    }


def run(network, batch, max_epochs=1, learning_rate=1e-3, events=(), **arguments):
    """Train on one batch with three classes and return the outputs of all iterations and the events that fired."""
    outputs, fired = [], []
    trainer = AutoencoderTrainer(
        device=CPU,
        max_epochs=max_epochs,
        train_data_loader=[batch],
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=learning_rate),
        num_classes=3,
        **arguments,
    )
    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda engine: outputs.append(engine.state.output))
    for event in events:
        trainer.add_event_handler(event, fired.append, event)
    torch.manual_seed(5)
    trainer.run()
    return outputs, fired


def test_loss_is_l1_of_images_and_label_images_plus_the_weighted_kl(network):
    by_hand, batch = copy.deepcopy(network).train(), make_batch()
    ((output,), _) = run(network, batch, kl_weight=0.5)

    torch.manual_seed(5)
    images = torch.cat([batch["labelled"]["image"], batch["unlabelled"]["image"]])
    label_images = (batch["labelled"]["label"] - 1).expand(-1, 3, -1, -1)  # classes 0, 1, 2 are -1, 0, 1
    inputs = torch.cat([2 * images - 1, label_images])
    posterior = by_hand.encode(inputs).latent_dist
    mean, log_variance = posterior.mean, posterior.logvar
    reconstruction = (by_hand.decode(posterior.sample()).sample - inputs).abs().mean().item()
    kl = (0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)).mean().item()
    assert output["reconstruction"].item() == pytest.approx(reconstruction, rel=1e-5)
    assert output["kl"].item() == pytest.approx(kl, rel=1e-5)
    assert output["loss"] == pytest.approx(reconstruction + 0.5 * kl, rel=1e-5)


@pytest.mark.learning
def test_loss_falls_on_a_single_batch(network):
    square = torch.zeros(2, 1, 16, 16)
    square[..., 4:12, 4:12] = 2
    batch = {"labelled": {"image": (square / 2).expand(-1, 3, -1, -1), "label": square}}
    outputs, _ = run(network, batch, max_epochs=60, learning_rate=0.01)
    assert outputs[-1]["loss"] < 0.5 * outputs[0]["loss"]


def test_bfloat16_runs_on_the_cpu_with_nearly_the_same_loss(network, cpu_with_bfloat16):
    ((exact,), _) = run(copy.deepcopy(network), make_batch())
    ((rounded,), _) = run(network, make_batch(), amp=True)
    assert rounded["loss"] == pytest.approx(exact["loss"], rel=0.05)
    assert rounded["loss"] != exact["loss"]


def test_every_iteration_event_fires_in_order(network):
    assert run(network, make_batch(), events=IterationEvents)[1] == [
        IterationEvents.FORWARD_COMPLETED,
        IterationEvents.LOSS_COMPLETED,
        IterationEvents.BACKWARD_COMPLETED,
        IterationEvents.MODEL_COMPLETED,
    ]


def test_a_loss_that_is_no_number_stops_the_run(network):
    network.decoder.conv_out.bias.data.fill_(math.nan)
    with pytest.raises(InputError, match="the loss became nan at iteration 1"):
        run(network, make_batch())


def evaluate(shift, num_classes=2, ignored_rows=0):
    """Output of one validation batch of grey images; every second column of the labels is the highest class."""
    label = torch.zeros(1, 1, 4, 4)
    label[..., ::2] = num_classes - 1
    label[:, :, :ignored_rows] = IGNORED_LABEL
    evaluator = AutoencoderEvaluator(
        device=CPU,
        val_data_loader=[{"image": torch.full((1, 3, 4, 4), 0.5), "label": label}],
        network=Shift(shift),
        num_classes=num_classes,
    )
    evaluator.run()
    return evaluator.state.output


def test_validation_of_an_autoencoder_that_is_off_by_a_tenth():
    output = evaluate(shift=0.2)  # of a range of 2, which is 0.1 of the image's
    assert output["psnr"] == pytest.approx(20, abs=1e-3)
    assert output["label_error"] == 0
    assert output["error"] == pytest.approx(0.04 + 0.04, rel=1e-4)


def test_label_error_is_the_share_of_pixels_that_change_their_class():
    assert evaluate(shift=1.2)["label_error"] == 0.5  # background becomes foreground
    assert evaluate(shift=0.7, num_classes=3)["label_error"] == 0.5  # the class 0 becomes 1, the highest one stays


def test_reconstructed_images_are_compared_within_their_range():
    output = evaluate(shift=4.0)  # 0.5 + 2 is clipped to 1
    assert output["psnr"] == pytest.approx(-10 * math.log10(0.25), abs=1e-3)


def test_reconstruction_of_ignored_pixels_is_not_compared(network):
    batch = make_batch()
    batch["labelled"]["label"][:, :, 4:] = IGNORED_LABEL
    by_hand = copy.deepcopy(network).train()
    ((output,), _) = run(network, batch)
    torch.manual_seed(5)
    images = torch.cat([batch["labelled"]["image"], batch["unlabelled"]["image"]])
    labels = batch["labelled"]["label"].clone()
    labels[:, :, 4:] = 0  # what the encoder sees
    inputs = torch.cat([2 * images - 1, (labels - 1).expand(-1, 3, -1, -1)])
    errors = (by_hand.decode(by_hand.encode(inputs).latent_dist.sample()).sample - inputs).abs()
    compared = torch.cat([errors[:3].flatten(), errors[3:, :, :4].flatten()])
    assert output["reconstruction"].item() == pytest.approx(compared.mean().item(), rel=1e-5)


@pytest.mark.parametrize("ignored_rows", [1, 3])
def test_ignored_pixels_count_neither_as_right_nor_as_wrong(ignored_rows):
    whole, known = evaluate(shift=1.2), evaluate(shift=1.2, ignored_rows=ignored_rows)
    assert known["label_error"] == whole["label_error"] == 0.5
    assert known["error"] == pytest.approx(whole["error"])


def test_a_label_of_ignored_pixels_alone_has_no_error():
    output = evaluate(shift=1.2, ignored_rows=4)
    assert output["label_error"] == 0
    assert output["error"] == pytest.approx(4 * 10 ** (-output["psnr"] / 10), rel=1e-4)


def test_label_images_may_have_a_colour_for_each_class(network):
    by_hand, batch = copy.deepcopy(network).train(), make_batch()
    ((output,), _) = run(network, batch, label_code="palette")
    torch.manual_seed(5)
    images = torch.cat([batch["labelled"]["image"], batch["unlabelled"]["image"]])
    colours = torch.tensor([[-1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
    inputs = torch.cat([2 * images - 1, colours[batch["labelled"]["label"][:, 0].long()].movedim(-1, 1)])
    reconstruction = by_hand.decode(by_hand.encode(inputs).latent_dist.sample()).sample
    assert output["reconstruction"].item() == pytest.approx((reconstruction - inputs).abs().mean().item(), rel=1e-5)


def test_colours_that_are_kept_are_no_error_of_the_labels():
    batch = {"image": torch.full((1, 3, 4, 4), 0.5), "label": torch.arange(16.0).view(1, 1, 4, 4) % 4}
    evaluator = AutoencoderEvaluator(
        device=CPU, val_data_loader=[batch], network=Shift(0.1), num_classes=4, label_code="palette"
    )
    evaluator.run()
    assert evaluator.state.output["label_error"] == 0
