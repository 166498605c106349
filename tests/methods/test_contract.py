"""What every method must do. A new method is one line in `METHODS`."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import nn
from torch.nn.functional import one_hot
from torch.optim import SGD

from custom.handlers import StageCheckpoint
from custom.labels import IGNORED_LABEL
from custom.methods import (
    CSCPA,
    SKCDF,
    BidirectionalCopyPaste,
    BSNet,
    CrossDistillationOfAttentions,
    CrossPseudoSupervision,
    CrossPseudoSupervisionWithCauSSL,
    CrossPseudoSupervisionWithSCDL,
    DiffRect,
    Distilled,
    DualTaskConsistency,
    FixMatch,
    GenericSSL,
    GradientAwareCrossPseudoSupervision,
    GradientAwareCrossPseudoSupervisionWithSCDL,
    GradientAwareMagicNet,
    HeterogeneousCoTraining,
    HeterogeneousCoTrainingWithSCDL,
    InherentConsistentLearning,
    InterpolationConsistency,
    MagicNet,
    MutualConsistency,
    MutualConsistencyWithSCDL,
    MutualCorrection,
    ProgressiveMeanTeacher,
    SemiGDAAlignment,
    SemiGDAPlus,
    SemiGDASegmentation,
    Supervised,
    SupervisedWithSCDL,
    UncertaintyAwareMeanTeacher,
    UncertaintyCoEstimator,
    UncertaintyRectifiedPyramidConsistency,
    UniMatchV2,
    VCLIPSeg,
)
from custom.methods.trainer import MethodTrainer, dice_and_cross_entropy
from custom.networks import (
    AttentionUNet,
    BSNetNetworks,
    CSCPANetworks,
    SCDLUNet,
    SCDLUNetPair,
    SemiGDA,
    SKCDFNetworks,
    UNet,
    UNetPair,
    UNetPairWithTeachers,
    UNetWithCellLocations,
    UNetWithDenoiser,
    UNetWithDistances,
    UNetWithInherentConsistency,
    UNetWithPyramid,
    UNetWithRectifier,
    UNetWithTeacher,
    VCLIPSegNetworks,
    load_model,
    save_model,
)
from tests.conftest import CONFIGS, perturb
from tests.methods.conftest import WIDTHS, dice_of, disc_batches, make_batch, make_trainer, moved, run

TWO_DECODERS = {"upsampling": ("bilinear", "transposed")}
THREE_DECODERS = {"upsampling": ("bilinear", "transposed", "nearest")}
SMALL = {"widths": WIDTHS, "seed": 0}
SCDL = {**SMALL, "embedding_channels": 8, "samples": 5}
CELLS = {**SMALL, "cells": 2, "location_width": 8}
DENOISER = {**SMALL, "sampling_steps": 2, "time_channels": 16}
VISIBLE = {"learning_rate": 0.5, "pseudo_weight": 100, "map_consistency_weight": 5000}  # random maps hardly differ
RECTIFIER = {**SMALL, "denoiser_widths": (8, 8), "time_channels": 16}

# One line each: how to make a trainer from a number of classes, batches and arguments of `make_trainer`


def of(method: type[MethodTrainer], network: type[nn.Module], settings: dict[str, Any], **options: Any) -> Callable:
    """A function that makes trainers of the method for a network of these settings."""

    def make(num_classes: int, batches: list[dict], **arguments: Any) -> MethodTrainer:
        return make_trainer(method, network(num_classes, **settings), batches, **{**options, **arguments})

    return make


def of_two_optimizers(num_classes: int, batches: list[dict], **arguments: Any) -> MethodTrainer:
    """DiffRect, whose rectifier has an optimiser of its own."""
    network = UNetWithRectifier(num_classes, **RECTIFIER)
    rates = {"lr": arguments.pop("learning_rate", 0.01), "momentum": arguments.pop("momentum", 0.0)}
    optimizers = {
        "optimizer": SGD(network.segmenter.parameters(), **rates),
        "rectifier_optimizer": SGD(network.rectifier.parameters(), **rates),
    }
    return make_trainer(DiffRect, network, batches, refine_start=0.0, **{**optimizers, **arguments})


def of_semigda(
    method: type[MethodTrainer], first_stage_scale: float = 1.0, label_code: str = "ordinal", **options: Any
) -> Callable:
    """A function that makes trainers of a stage of SemiGDA, all of whose trained parameters have one optimiser."""
    settings = {"width": 4, "mapper_width": 8, "first_stage_scale": first_stage_scale, "seed": 0}

    def make(num_classes: int, batches: list[dict], learning_rate: float = 0.01, **arguments: Any) -> MethodTrainer:
        options["learning_rate"] = 4 * learning_rate  # behind a frozen decoder gradients are small
        network = SemiGDA(CONFIGS["tiny"], num_classes, label_code=label_code, **settings)
        return make_trainer(method, network, batches, **{**options, **arguments})

    return make


def of_vclipseg(num_classes: int, batches: list[dict], learning_rate: float = 0.01, **arguments: Any) -> MethodTrainer:
    """VCLIPSeg with a larger step: without cross-entropy the Dice loss of the foreground has small gradients."""
    network = VCLIPSegNetworks(num_classes, **SMALL, dropout=(0.0,) * len(WIDTHS))
    return make_trainer(VCLIPSeg, network, batches, learning_rate=4 * learning_rate, **arguments)


def of_distilled(num_classes: int, batches: list[dict], **arguments: Any) -> MethodTrainer:
    """Distillation from a teacher that is half certain of the class which is brightest where the image is."""
    taught = copy.deepcopy(batches)
    for batch in taught:
        if "unlabelled" in batch:
            grey = batch["unlabelled"]["image"].mean(dim=1) * (num_classes - 1)
            batch["unlabelled"]["soft_label"] = 0.5 * one_hot(grey.round().long(), num_classes).moveaxis(-1, 1)[:, 1:]
    return make_trainer(Distilled, UNet(num_classes, **SMALL), taught, **arguments)


SEMIGDA = {
    "SemiGDA, alignment": of_semigda(SemiGDAAlignment),
    "SemiGDA, segmentation": of_semigda(SemiGDASegmentation, mixing_start=0.0),
    "SemiGDA+": of_semigda(SemiGDAPlus, first_stage_scale=0.5, mixing_start=0.0),
    "SemiGDA, palette, segmentation": of_semigda(SemiGDASegmentation, label_code="palette", mixing_start=0.0),
}
METHODS = {
    **SEMIGDA,
    "Supervised": of(Supervised, UNet, SMALL),
    "UA-MT": of(UncertaintyAwareMeanTeacher, UNetWithTeacher, SMALL),
    "ICT": of(InterpolationConsistency, UNetWithTeacher, SMALL),
    "FixMatch": of(FixMatch, UNet, SMALL, threshold=0.6),
    "FixMatch of SSL4MIS": of(FixMatch, UNet, SMALL, pseudo="ssl4mis"),
    "UniMatch V2": of(UniMatchV2, UNetWithTeacher, SMALL, threshold=0.6),
    "BCP": of(BidirectionalCopyPaste, UNetWithTeacher, SMALL | {"warm_up": False}, pretrain_share=0.5),
    "Distilled": of_distilled,
    "CPS": of(CrossPseudoSupervision, UNetPair, SMALL),
    "GA-CPS": of(GradientAwareCrossPseudoSupervision, UNetPair, SMALL, hardest=50.0),
    "DHC": of(HeterogeneousCoTraining, UNetPair, SMALL),
    "UnCo": of(UncertaintyCoEstimator, UNetPairWithTeachers, SMALL, copies=2),
    "MCF": of(MutualCorrection, UNetPair, SMALL | {"second": {"upsampling": ("transposed",)}}),
    "PMT": of(ProgressiveMeanTeacher, UNetPairWithTeachers, SMALL),
    "GenericSSL": of(GenericSSL, UNetWithDenoiser, DENOISER),
    "CauSSL": of(CrossPseudoSupervisionWithCauSSL, UNetPair, SMALL, independence_start=0.0, cross_start=0.0),
    "CauSSL by Adam": of(
        CrossPseudoSupervisionWithCauSSL, UNetPair, SMALL, inner="adam", max_steps=3, interval=2, independence_start=0.0
    ),
    "MagicNet": of(MagicNet, UNetWithCellLocations, CELLS, blend_start=0.0),
    "GA-MagicNet": of(GradientAwareMagicNet, UNetWithCellLocations, CELLS),
    "MC-Net": of(MutualConsistency, UNet, SMALL | TWO_DECODERS),
    "MC-Net v2": of(MutualConsistency, UNet, SMALL | THREE_DECODERS),
    "CDMA": of(CrossDistillationOfAttentions, AttentionUNet, SMALL | {"reduction": 1}, start=0.0),
    "URPC": of(UncertaintyRectifiedPyramidConsistency, UNetWithPyramid, SMALL),
    "DTC": of(DualTaskConsistency, UNetWithDistances, SMALL),
    "INCL": of(InherentConsistentLearning, UNetWithInherentConsistency, SMALL | {"image_size": 32}, **VISIBLE),
    "DiffRect": of_two_optimizers,
    "VCLIPSeg": of_vclipseg,
    "CSC-PA": of(CSCPA, CSCPANetworks, SMALL, warm_up=0.0),
    "SKCDF": of(SKCDF, SKCDFNetworks, SMALL | {"image_size": 32}),
    "BS-Net": of(BSNet, BSNetNetworks, SMALL, start=0.0),
    "SCDL": of(SupervisedWithSCDL, SCDLUNet, SCDL, scdl_start=0.0),
    "SCDL by tokens": of(SupervisedWithSCDL, SCDLUNet, SCDL, scdl_start=0.0, proxy_to_embedding_form="token"),
    "CPS with SCDL": of(CrossPseudoSupervisionWithSCDL, SCDLUNetPair, SCDL, scdl_start=0.0),
    "GA-CPS with SCDL": of(  # all pixels: the hardest tenth stay hard for more than the five epochs of a test here
        GradientAwareCrossPseudoSupervisionWithSCDL, SCDLUNetPair, SCDL, scdl_start=0.0, hardest=100.0
    ),
    "DHC with SCDL": of(HeterogeneousCoTrainingWithSCDL, SCDLUNetPair, SCDL, scdl_start=0.0),
    "MC-Net with SCDL": of(MutualConsistencyWithSCDL, SCDLUNet, SCDL | TWO_DECODERS, scdl_start=0.0),
}
# Labelled images too have an unsupervised loss
UNSUPERVISED_ON_LABELLED = ("MC-Net", "MC-Net v2", "MC-Net with SCDL", "DiffRect", "MagicNet", "GA-MagicNet")
# What learns nothing from labelled images alone: of BS-Net, of CSC-PA, and the last four of INCL
NEED_UNLABELLED = (
    *("discriminator.", "attention."),
    *("unsupervised.", "supervised.2.to_value", "supervised.2.to_output", "supervised.2.query_mlp"),
)


@pytest.fixture(params=METHODS.values(), ids=METHODS)
def make(request):
    return request.param


@pytest.fixture(params=[2, 4], ids=["K=2", "K=4"])
def num_classes(request):
    return request.param


def batches_of(count, labelled=2, unlabelled=2, num_classes=2):
    return [
        make_batch(labelled, unlabelled, num_classes, size=32, strong=True, seed=index) for index in range(1, count + 1)
    ]


# Training. The tests of the single methods ask for more: that discs are found in images never seen before.


def losses_on_a_tiny_set(make, num_classes, unlabelled):
    """The supervised losses of five passes over four batches."""
    batches = disc_batches(num_classes, unlabelled, strong=True)
    trainer = make(num_classes, batches, max_epochs=5, learning_rate=0.05, momentum=0.9)
    return [float(next(value for key, value in out.items() if key.startswith("supervised"))) for out in run(trainer)]


@pytest.mark.learning
def test_a_tiny_set_is_learnt(make):
    losses = losses_on_a_tiny_set(make, num_classes=4, unlabelled=True)
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


@pytest.mark.learning
@pytest.mark.parametrize(
    "name", ["Supervised", "SemiGDA, alignment", "SemiGDA, segmentation", "DiffRect", "SCDL", "BCP"]
)
def test_a_tiny_set_is_learnt_from_labels_alone(name):
    losses = losses_on_a_tiny_set(METHODS[name], num_classes=2, unlabelled=False)
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


@pytest.mark.parametrize(("num_classes", "labelled", "unlabelled"), [(4, 2, 2), (2, 1, 1), (4, 2, 0)])
def test_every_parameter_learns_with_one_image_of_each_kind_and_without_unlabelled_ones_too(
    labelled, unlabelled, make, num_classes
):
    trainer = make(num_classes, batches_of(2, labelled, unlabelled, num_classes))
    torch.manual_seed(0)
    network = perturb(trainer.network)  # what starts at zero passes no gradient on to what is before it
    before = copy.deepcopy(network)
    assert all(math.isfinite(float(value)) for output in run(trainer) for value in output.values())
    untrained = ("first_stage.", "image_adapters.", "mask_adapters.")
    untrained = untrained if isinstance(trainer, SemiGDAAlignment) else untrained[:1]
    if not unlabelled:
        untrained = (*untrained, *NEED_UNLABELLED)
    learning = {name for name, _ in network.named_parameters() if not name.startswith(untrained)}
    changed = moved(before, network)
    assert changed <= learning
    still = learning - changed
    # In front of batch normalisation a bias cancels out, so rounding decides whether it moves.
    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
    may_stay = {f"{name}.bias" for name, part in network.named_modules() if isinstance(part, kinds)}
    assert still <= {name for name in may_stay if "heads." not in name and "rectifier.head." not in name}


def test_under_autocast_the_losses_are_finite_and_in_single_precision(make, cpu_with_bfloat16):
    trainer = make(2, batches_of(1), amp=True)
    (output,) = run(trainer)
    assert all(math.isfinite(float(value)) for value in output.values())
    assert {value.dtype for value in output.values() if torch.is_tensor(value)} == {torch.float32}
    assert {parameter.dtype for parameter in trainer.network.parameters()} == {torch.float32}


# Ignored pixels


def ignored_batch(unlabelled=2, num_classes=2, share=0.75, seed=1):
    """A random batch whose labels are undecided in the upper part of every image, and at scattered pixels below."""
    (batch,) = batches_of(1, 2, unlabelled, num_classes)
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


@pytest.mark.parametrize("name", sorted(METHODS.keys() - SEMIGDA.keys()))  # SemiGDA has soft labels
def test_ignored_pixels_give_the_logits_no_gradient(name, num_classes):
    witness = Witness()
    run(METHODS[name](num_classes, [ignored_batch(num_classes=num_classes)], loss_function=witness))
    assert witness.seen
    for logits, labels in witness.seen:
        ignored = (labels == IGNORED_LABEL).expand_as(logits)
        assert not logits.grad[ignored].any()
        assert logits.grad[~ignored].any()


@pytest.mark.parametrize(("num_classes", "unlabelled"), [(2, 2), (4, 0)])
@pytest.mark.parametrize("name", METHODS)
def test_labels_of_ignored_pixels_alone_train_without_supervision(name, unlabelled, num_classes):
    (output,) = run(METHODS[name](num_classes, [ignored_batch(unlabelled, num_classes, share=1.0)]))
    supervised = [float(value) for key, value in output.items() if key.startswith("supervised") or key == "anchor"]
    assert supervised and not any(supervised)
    assert all(math.isfinite(float(value)) for value in output.values())
    if not unlabelled and name not in UNSUPERVISED_ON_LABELLED:
        assert output["loss"] == 0


@pytest.mark.learning
@pytest.mark.parametrize("name", ["Supervised", "SCDL"])
def test_discs_are_learnt_though_a_third_of_every_label_is_undecided(name):
    batches = disc_batches()
    for batch in batches:
        batch["labelled"]["label"][:, :, ::3] = IGNORED_LABEL
    trainer = METHODS[name](2, batches, max_epochs=25, learning_rate=0.05, momentum=0.9)
    run(trainer)
    assert dice_of(trainer.network) > 0.7


# Resuming, and files


def with_checkpoint(trainer, folder):
    """The trainer, and the checkpoint that seeds and saves each of its epochs."""
    checkpoint = StageCheckpoint(folder, "stage", trainer, None, trainer.stateful_objects(), seed=3)
    trainer.state.epoch_length = len(trainer.data_loader)
    checkpoint.attach()
    return trainer, checkpoint


class SwitchedOff(Exception):
    """Stands for a machine that is switched off."""


def switch_off():
    raise SwitchedOff


def test_an_interrupted_run_continues_bit_for_bit(make, tmp_path):
    settings = {"batches": batches_of(2), "max_epochs": 2, "momentum": 0.9}
    whole, _ = with_checkpoint(make(2, **settings), tmp_path / "whole")
    whole.run()
    interrupted, _ = with_checkpoint(make(2, **settings), tmp_path / "parts")
    interrupted.add_event_handler(Events.ITERATION_COMPLETED(once=3), switch_off)
    with pytest.raises(SwitchedOff):
        interrupted.run()
    resumed, checkpoint = with_checkpoint(make(2, **settings), tmp_path / "parts")
    assert checkpoint.restore()
    assert resumed.state.epoch == 1
    resumed.run()
    state = resumed.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.network.state_dict().items())


def test_a_trained_network_predicts_the_same_from_its_model_file(make, tmp_path):
    trainer = make(4, batches_of(1, num_classes=4))
    run(trainer)
    save_model(trainer.network, tmp_path / "model.pt")
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(load_model(tmp_path / "model.pt")(images), trainer.network.eval()(images))
