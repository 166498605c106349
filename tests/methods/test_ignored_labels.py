"""Every method on labels with undecided pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from custom.labels import IGNORED_LABEL
from custom.methods import (
    CrossPseudoSupervision,
    CrossPseudoSupervisionWithSCDL,
    DiffRect,
    FixMatch,
    InterpolationConsistency,
    MutualConsistency,
    MutualConsistencyWithSCDL,
    Supervised,
    SupervisedWithSCDL,
    UncertaintyAwareMeanTeacher,
    UncertaintyRectifiedPyramidConsistency,
)
from custom.methods.trainer import dice_and_cross_entropy
from custom.networks import MeanTeacher, NetworkPair, PyramidUNet, SCDLUNet
from custom.networks.diffrect import DiffRectNetworks, LabelRectifier
from tests.methods.conftest import WIDTHS, dice_of, disc_batches, make_batch, make_trainer, make_unet, run

TWO_DECODERS = ("bilinear", "transposed")


def make_scdl_unet(num_classes, seed=0, **arguments):
    torch.manual_seed(seed)
    return SCDLUNet(num_classes, widths=WIDTHS, embedding_channels=8, samples=5, **arguments)


def make_diffrect(num_classes):
    torch.manual_seed(0)
    rectifier = LabelRectifier(num_classes, widths=WIDTHS, denoiser_widths=(8, 8), time_channels=16)
    return DiffRectNetworks(make_unet(num_classes), rectifier)


METHODS = {
    "supervised": (Supervised, make_unet, {}),
    "CPS": (CrossPseudoSupervision, lambda classes: NetworkPair(make_unet(classes), make_unet(classes, seed=1)), {}),
    "FixMatch": (FixMatch, make_unet, {}),
    "FixMatch of SSL4MIS": (FixMatch, make_unet, {"pseudo": "ssl4mis"}),
    "ICT": (InterpolationConsistency, lambda classes: MeanTeacher(make_unet(classes)), {}),
    "MC-Net": (MutualConsistency, lambda classes: make_unet(classes, upsampling=TWO_DECODERS), {}),
    "UA-MT": (UncertaintyAwareMeanTeacher, lambda classes: MeanTeacher(make_unet(classes)), {}),
    "URPC": (UncertaintyRectifiedPyramidConsistency, lambda classes: PyramidUNet(make_unet(classes)), {}),
    "SCDL": (SupervisedWithSCDL, make_scdl_unet, {"scdl_start": 0.0}),
    "SCDL by tokens": (SupervisedWithSCDL, make_scdl_unet, {"scdl_start": 0.0, "proxy_to_embedding_form": "token"}),
    "CPS with SCDL": (
        CrossPseudoSupervisionWithSCDL,
        lambda classes: NetworkPair(make_scdl_unet(classes), make_scdl_unet(classes, seed=1)),
        {"scdl_start": 0.0},
    ),
    "MC-Net with SCDL": (
        MutualConsistencyWithSCDL,
        lambda classes: make_scdl_unet(classes, upsampling=TWO_DECODERS),
        {"scdl_start": 0.0},
    ),
    "DiffRect": (DiffRect, make_diffrect, {"refine_start": 0.0}),
}


def train(name, batches, num_classes=2, max_epochs=1, **arguments):
    """The method's trainer after its run, and the outputs of its iterations."""
    method, make_network, options = METHODS[name]
    network = make_network(num_classes)
    if method is DiffRect:
        parts = {"optimizer": network.segmenter, "rectifier_optimizer": network.rectifier}
        options = {key: torch.optim.SGD(part.parameters(), lr=0.01) for key, part in parts.items()} | options
    trainer = make_trainer(method, network, batches, max_epochs, **{**options, **arguments})
    return trainer, run(trainer)


def ignored_batch(unlabelled=2, num_classes=2, share=0.75, seed=1):
    """A random batch whose labels are undecided in the upper part of every image, and at scattered pixels below."""
    batch = make_batch(2, unlabelled, num_classes, size=32, strong=True, seed=seed)
    labels = batch["labelled"]["label"]
    labels[:, :, : round(32 * share)] = IGNORED_LABEL
    labels[torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed)) < 0.1] = IGNORED_LABEL
    return batch


class Witness(nn.Module):
    """The usual supervised loss, which keeps the gradients of the logits that are compared with true labels."""

    def __init__(self):
        super().__init__()
        self.loss = dice_and_cross_entropy()
        self.seen = []

    def forward(self, logits, labels):
        if (labels == IGNORED_LABEL).any():
            logits.retain_grad()
            self.seen.append((logits, labels))
        return self.loss(logits, labels)


@pytest.mark.parametrize("name", METHODS)
def test_ignored_pixels_give_the_logits_no_gradient(name):
    witness = Witness()
    train(name, [ignored_batch()], loss_function=witness)
    assert witness.seen
    for logits, labels in witness.seen:
        ignored = (labels == IGNORED_LABEL).expand_as(logits)
        assert not logits.grad[ignored].any()
        assert logits.grad[~ignored].any()


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("unlabelled", [0, 2])
@pytest.mark.parametrize("name", METHODS)
def test_labels_of_ignored_pixels_alone_train_without_supervision(name, unlabelled, num_classes):
    batch = ignored_batch(unlabelled, num_classes, share=1.0)
    _, (output,) = train(name, [batch], num_classes)
    supervised = [float(value) for key, value in output.items() if key.startswith("supervised") or key == "anchor"]
    assert supervised and not any(supervised)
    assert all(math.isfinite(float(value)) for value in output.values())
    if not unlabelled and name not in ("MC-Net", "MC-Net with SCDL", "DiffRect"):  # these teach themselves
        assert output["loss"] == 0


@pytest.mark.parametrize("name", ["supervised", "SCDL"])
def test_discs_are_learnt_though_a_third_of_every_label_is_undecided(name):
    batches = disc_batches()
    for batch in batches:
        batch["labelled"]["label"][:, :, ::3] = IGNORED_LABEL
    trainer, _ = train(name, batches, max_epochs=25, learning_rate=0.05, momentum=0.9)
    assert dice_of(trainer.network) > 0.7
