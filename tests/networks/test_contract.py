"""What every network that can be trained and saved must do. A new network is one line in `NETWORKS`."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from monai.networks import one_hot
from torch import Tensor, nn
from torch.nn.functional import interpolate

from custom.checkpoints import load_checkpoint, save_atomically
from custom.errors import InputError
from custom.first_stage import build_first_stage
from custom.labels import signed_distances
from custom.losses import SoftLabelDiceLoss
from custom.methods.trainer import dice_and_cross_entropy
from custom.networks import (
    AttentionUNet,
    BSNetNetworks,
    CSCPANetworks,
    MaskBranch,
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
    load_trained_weights,
    model_details,
    save_model,
)
from tests.conftest import CONFIGS, perturb
from tests.methods.conftest import discs

BOTH = ("bilinear", "transposed")
SMALL = {"widths": (8, 8, 8, 8, 16), "dropout": (0.0,) * 5}
SCDL = {**SMALL, "embedding_channels": 8, "temperature": 0.3, "samples": 5}
DENOISER = {**SMALL, "sampling_steps": 2, "time_channels": 16}
RECTIFIER = {**SMALL, "denoiser_widths": (8, 8), "time_channels": 16}
TEXT = {**SMALL, "text_channels": 16}
LITE = {"encoder": "efficientnet-lite0", "first_stage_scale": 0.5}
SIZE = 32


# Losses: what a method asks of a network in training, as one number


def of_logits(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Supervised loss of all logits."""
    answers = network.all_logits(images)
    return sum(dice_and_cross_entropy()(logits, labels) for logits in answers) / len(answers)


def of_student(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return of_logits(network.student, images, labels)


def of_distributions(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The same, and how unlike the tokens are to the first class, so that the distributions are in the loss too."""
    if not isinstance(network, SCDLUNet):
        return of_logits(network, images, labels)
    logits, found = network.logits_with_distributions(images)
    unlike = (1 - found.similarities[..., :1]).mean() + found.priors.square().mean()
    return dice_and_cross_entropy()(logits, labels) + unlike


def of_pair(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return (of_logits(network.first, images, labels) + of_logits(network.second, images, labels)) / 2


def of_students(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return (of_student(network.first, images, labels) + of_student(network.second, images, labels)) / 2


def of_distances(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The loss of the logits, and the squared error of the signed distances."""
    logits, distances = network.logits_and_distances(images)
    target = signed_distances(labels, network.num_classes)
    return dice_and_cross_entropy()(logits, labels) + (distances - target).square().mean()


def of_branches(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Dice loss of the soft labels of both branches, and their squared distance, which also empty labels teach."""
    dice = SoftLabelDiceLoss(network.num_classes)
    return sum(dice(soft, labels) + (soft - labels).square().mean() for soft in network.predict_branches(images))


def of_memberships(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The same with a palette: the squared distance is that of the memberships from the true ones."""
    if network.num_classes == 2:
        return of_branches(network, images, labels)
    dice, true = SoftLabelDiceLoss(network.num_classes), one_hot(labels, network.num_classes)
    return sum(dice(soft, labels) + (soft - true).square().mean() for soft in network.predict_branches(images))


def of_denoiser(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean supervised loss of the three decoders, of labels without noise that are called noisy."""
    noisy = 2 * one_hot(labels, network.num_classes) - 1
    denoised = network.denoised_logits(images, noisy, torch.zeros(len(images)))
    answers = [network.deployed.logits(images), network.labelled_logits(images), denoised]
    return sum(dice_and_cross_entropy()(logits, labels) for logits in answers) / 3


def of_cells(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean supervised loss of the student's three predictions, and the cross-entropy of the places of cells."""
    order = torch.arange(len(images)).repeat(network.cells**2, 1)
    cells, locations = network.cell_logits(images)
    answers = [network.student.logits(images), network.mixed_logits(images, order.flip(1)), cells]
    places = torch.arange(network.cells**2).repeat(len(images))
    supervised = sum(dice_and_cross_entropy()(logits, labels) for logits in answers) / 3
    return supervised + nn.functional.cross_entropy(locations, places)


def of_rectifier(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The segmenter's loss, and that of labels rectified towards themselves."""
    rectified = network.rectifier.reconstruct(images, labels, labels, torch.tensor(0.0))
    latent = (rectified.latent - rectified.target).square().mean()
    return of_logits(network.segmenter, images, labels) + dice_and_cross_entropy()(rectified.logits, labels) + latent


def of_projections(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The loss of the logits, and the squared distance of the projections from the vector of the last class."""
    logits, projections = network.all_logits_with_projections(images)
    text = network.text_vectors[-1, :, None, None]
    supervised = sum(dice_and_cross_entropy()(each, labels) for each in logits) / len(logits)
    return supervised + sum((each - text).square().mean() for each in projections)


def of_discriminator(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The loss of both networks, and that of the discriminator, for which all images are labelled ones."""
    answer = network.discriminator(network.first.logits(images).softmax(dim=1), images)
    target = torch.ones(len(images), dtype=torch.long)
    return of_pair(network, images, labels) + torch.nn.functional.cross_entropy(answer, target)


def of_changed_features(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The loss of the logits of changed features, for which all images but the first are unlabelled ones."""
    return dice_and_cross_entropy()(network.changed(images, 1).logits, labels)


def of_maps(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Supervised loss of the logits, and a hundredth of that of all maps of both modules, for the same labels."""
    outputs = network.logits_and_maps(torch.cat([images, images]), len(images))
    maps = [*outputs.labelled_maps, *outputs.unsupervised_maps]
    resized = [interpolate(each, size=images.shape[-2:], mode="bilinear") for each in maps]
    loss = dice_and_cross_entropy()
    return loss(outputs.logits[: len(images)], labels) + 0.01 * sum(loss(each, labels) for each in resized)


def of_both_heads(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The loss of both heads of both decoders, of which the second one's rows ask each other."""
    answers = [*network.logits_of_both_heads(images, 0), *network.logits_of_both_heads(images, 1, 1)]
    return sum(dice_and_cross_entropy()(logits, labels) for logits in answers) / len(answers)


# The networks


def semigda(kind: str, num_classes: int, seed: int, **arguments: Any) -> SemiGDA:
    """A SemiGDA on a first stage whose weights are the same for every seed."""
    torch.manual_seed(0)
    first_stage = perturb(build_first_stage(CONFIGS[kind]))
    settings = {"width": 4, "mapper_width": 8, "dropout": 0.0, "latent_noise": "off", **arguments}
    return SemiGDA(first_stage, num_classes, seed=seed, **settings)


def mask_branch(kind: str, num_classes: int, seed: int) -> MaskBranch:
    """A Mask branch of its own, likewise."""
    torch.manual_seed(0)
    first_stage = perturb(build_first_stage(CONFIGS[kind]))
    return MaskBranch(first_stage, num_classes, width=4, first_stage_scale=0.5, dropout=0.0, seed=seed)


class Entry(NamedTuple):
    """One line of the list.

    Attributes:
        make: (num_classes, seed) -> the network; another seed gives other weights.
        loss: (network, images, class indices) -> what training lowers.
        any_size: whether images of any size from 32 pixels work; if not, an odd size must be refused.
        side: of what the sides of an image must be multiples, unless any size works.
    """

    make: Callable[[int, int], nn.Module]
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor] = of_logits
    any_size: bool = True
    side: int = 4


NETWORKS = {
    "SemiGDA": Entry(lambda k, seed: semigda("kl", k, seed), of_branches, any_size=False),
    "SemiGDA, pretrained": Entry(lambda k, seed: semigda("tiny", k, seed, **LITE), of_branches, any_size=False, side=8),
    "SemiGDA, tiny": Entry(lambda k, seed: semigda("tiny", k, seed), of_branches, any_size=False),
    "SemiGDA, taef2": Entry(lambda k, seed: semigda("taef2", k, seed), of_branches, any_size=False),
    "SemiGDA, palette": Entry(
        lambda k, seed: semigda("tiny", k, seed, label_code="palette"), of_memberships, any_size=False
    ),
    "MaskBranch": Entry(lambda k, seed: mask_branch("kl", k, seed), any_size=False, side=8),
    "MaskBranch, tiny": Entry(lambda k, seed: mask_branch("tiny", k, seed), any_size=False, side=8),
    "UNet": Entry(lambda k, seed: UNet(k, seed=seed, **SMALL)),
    "UNet, two decoders": Entry(lambda k, seed: UNet(k, seed=seed, upsampling=BOTH, **SMALL)),
    "UNet, nearest": Entry(lambda k, seed: UNet(k, seed=seed, upsampling=("nearest",), **SMALL)),
    "AttentionUNet": Entry(lambda k, seed: AttentionUNet(k, seed=seed, reduction=1, **SMALL)),
    "SCDLUNet, two decoders": Entry(lambda k, seed: SCDLUNet(k, seed=seed, upsampling=BOTH, **SCDL)),
    "UNetWithTeacher": Entry(lambda k, seed: UNetWithTeacher(k, seed=seed, upsampling=BOTH, **SMALL), of_student),
    "UNetWithDistances": Entry(lambda k, seed: UNetWithDistances(k, seed=seed, **SMALL), of_distances),
    "UNetWithPyramid": Entry(lambda k, seed: UNetWithPyramid(k, seed=seed, **SMALL)),
    "UNetWithInherentConsistency": Entry(
        lambda k, seed: UNetWithInherentConsistency(k, SIZE, position_limit=0, seed=seed, **SMALL), of_maps
    ),
    "UNetPair": Entry(lambda k, seed: UNetPair(k, seed=seed, **SMALL), of_pair),
    "SCDLUNet, no priors": Entry(lambda k, seed: SCDLUNet(k, seed=seed, inject_priors=False, **SCDL), of_distributions),
    "UNetPair, different": Entry(lambda k, seed: UNetPair(k, seed=seed, second={"upsampling": BOTH}, **SMALL), of_pair),
    "UNetPairWithTeachers": Entry(lambda k, seed: UNetPairWithTeachers(k, seed=seed, **SMALL), of_students),
    "SCDLUNetPair": Entry(lambda k, seed: SCDLUNetPair(k, seed=seed, **SCDL), of_pair),
    "UNetWithCellLocations": Entry(
        lambda k, seed: UNetWithCellLocations(k, seed=seed, cells=2, location_width=8, **SMALL), of_cells
    ),
    "UNetWithDenoiser": Entry(lambda k, seed: UNetWithDenoiser(k, seed=seed, **DENOISER), of_denoiser),
    "CSCPANetworks": Entry(lambda k, seed: CSCPANetworks(k, seed=seed, **SMALL), of_changed_features),
    "SKCDFNetworks": Entry(lambda k, seed: SKCDFNetworks(k, seed=seed, image_size=SIZE, **SMALL), of_both_heads),
    "BSNetNetworks": Entry(lambda k, seed: BSNetNetworks(k, seed=seed, **SMALL), of_discriminator),
    "VCLIPSegNetworks": Entry(lambda k, seed: VCLIPSegNetworks(k, seed=seed, **TEXT), of_projections),
    "UNetWithRectifier": Entry(lambda k, seed: UNetWithRectifier(k, seed=seed, **RECTIFIER), of_rectifier),
}


@functools.cache
def moved_from_its_start(make: Callable[[int, int], nn.Module], num_classes: int) -> nn.Module:
    """A network none of whose trained parameters is zero, and whose statistics are those of some images."""
    network = make(num_classes, 0)
    perturb(nn.ParameterList(parameter for parameter in network.parameters() if parameter.requires_grad))
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    images, labels = discs(4, num_classes, SIZE)
    next(entry for entry in NETWORKS.values() if entry.make is make).loss(network.train(), images, labels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network


@functools.cache
def with_other_weights(make: Callable[[int, int], nn.Module], num_classes: int) -> nn.Module:
    return make(num_classes, 5)


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def entry(request):
    return request.param


@pytest.fixture(params=[2, 4], ids=["K=2", "K=4"])
def num_classes(request):
    return request.param


four_classes = pytest.mark.parametrize("num_classes", [4], ids=["K=4"])
"""For what does not depend on the number of classes."""


@pytest.fixture
def network(entry, num_classes):
    """The network away from its start, so that everything in it counts."""
    return copy.deepcopy(moved_from_its_start(entry.make, num_classes))


@pytest.fixture
def other(entry, num_classes):
    """A network of the same kind with other weights."""
    return copy.deepcopy(with_other_weights(entry.make, num_classes)).eval()


@pytest.fixture
def images():
    """Two RGB images of 32 x 32 pixels in [0, 1]."""
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def model(network, tmp_path):
    """The file into which the network was saved."""
    save_model(network, tmp_path / "model.pt", {"image_size": SIZE})
    return tmp_path / "model.pt"


def predict(network, images):
    with torch.no_grad():
        return network.eval()(images)


def inference_network(network):
    return network.inference_network() if hasattr(network, "inference_network") else network


def copied_state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


# What comes out


def test_the_prediction_is_a_soft_label_from_0_to_the_last_class(network, images, num_classes):
    prediction = predict(network, images)
    assert prediction.shape == (2, 1, SIZE, SIZE)
    assert prediction.dtype == torch.float32
    assert 0 <= prediction.min() < prediction.max() <= num_classes - 1
    assert network.num_classes == num_classes


@four_classes
def test_under_autocast_the_prediction_is_in_single_precision(network, images):
    with torch.autocast("cpu", torch.bfloat16):
        assert predict(network, images).dtype == torch.float32


@four_classes
def test_in_evaluation_the_same_image_gives_the_same_prediction_whatever_its_company(network, images):
    prediction = predict(network, images)
    assert torch.equal(prediction, predict(network, images))
    alone = torch.cat([predict(network, image) for image in images.split(1)])
    assert ((alone - prediction).abs() < 1e-4).float().mean() > 0.99  # rounding may decide between two classes


@pytest.mark.parametrize("size", [(47, 61), (56, 40)])
def test_an_odd_size_works_in_training_and_prediction_or_is_refused_with_a_fitting_one(
    size, network, entry, num_classes, message_of
):
    images, labels = torch.rand(2, 3, *size), torch.randint(num_classes, (2, 1, *size)).float()
    if not entry.any_size and any(length % entry.side for length in size):
        words = f"{size[0]} x {size[1]} .* multiples of {entry.side}, for example"
        with pytest.raises(InputError, match=words) as error:
            predict(network, images)
        message_of(error)
    else:
        assert entry.loss(network.train(), images, labels).isfinite()
        assert predict(network, images).shape == (2, 1, *size)


# Training


@four_classes
@pytest.mark.learning
def test_a_few_steps_lower_the_loss_clearly(entry, num_classes):
    network = entry.make(num_classes, 0).train()
    images, labels = discs(2, num_classes, SIZE)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=0.02)
    losses = []
    for _ in range(8):
        loss = entry.loss(network, images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@four_classes
def test_training_reaches_every_parameter_that_asks_for_a_gradient_and_changes_nothing_else(
    network, entry, num_classes
):
    images, labels = discs(3, num_classes, SIZE)
    before = copied_state(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, weight_decay=0.01)
    entry.loss(network.train(), images, labels).backward()
    optimizer.step()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        # In front of batch normalisation a bias cancels out: its gradient is rounding, and the decay alone moves it.
        assert parameter.grad is None or parameter.ndim == 1 or parameter.grad.any(), name
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


@four_classes
def test_a_pass_leaves_nothing_behind_that_cannot_be_copied(network, entry, num_classes, images):
    entry.loss(network.train(), *discs(2, num_classes, SIZE))
    copied = copy.deepcopy(network)  # tensors that belong to a graph are refused
    assert torch.equal(predict(copied, images), predict(network, images))


# State, and the network that predicts


@four_classes
def test_a_state_makes_another_network_the_same(network, other, images):
    assert not torch.equal(predict(other, images), predict(network, images))
    other.load_state_dict(network.state_dict())
    assert torch.equal(predict(other, images), predict(network, images))


@four_classes
@pytest.mark.parametrize("training", [True, False])
def test_the_network_for_inference_predicts_the_same_with_the_same_weights_in_the_same_mode(training, network, images):
    network.train(training)
    slim = inference_network(network)
    assert slim.training == network.training == training
    assert torch.equal(predict(slim, images), predict(network, images))
    own = {id(parameter) for parameter in network.parameters()}
    assert all(id(parameter) in own for parameter in slim.parameters())
    assert inference_network(slim) is slim
    assert (slim.num_classes, slim.branches) == (network.num_classes, network.branches)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_torchscript_of_the_network_for_inference_predicts_the_same(network, entry, images):
    slim = inference_network(network).eval()
    with torch.no_grad():
        traced = torch.jit.trace(slim, images[:1], check_trace=False)
        for size in (41, 56) if entry.any_size else (SIZE,):
            picture = torch.rand(2, 3, size, size)
            with torch.jit.optimized_execution(False):  # by PyTorch, which takes longer than all else here
                script = traced(picture)
            torch.testing.assert_close(script, slim(picture), rtol=0, atol=1e-5)


# Files


def test_a_model_holds_the_network_that_predicts_alone_and_predicts_the_same(network, model, images, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a first stage was looked for")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.setattr("custom.networks.semigda.load_first_stage", fail)
    loaded, slim = load_model(model), inference_network(network)
    assert type(loaded) is type(slim)
    assert not loaded.training
    assert loaded.architecture == slim.architecture
    assert load_checkpoint(model)["model"].keys() == slim.state_dict().keys()
    assert (loaded.num_classes, loaded.branches) == (network.num_classes, network.branches)
    assert {name for name, parameter in loaded.named_parameters() if parameter.requires_grad} == {
        name for name, parameter in slim.named_parameters() if parameter.requires_grad
    }
    assert torch.equal(predict(loaded, images), predict(network, images))
    assert model_details(model) == {"image_size": SIZE}


@four_classes
def test_saving_leaves_the_network_as_it_was(network, tmp_path):
    before = copied_state(network.train())
    save_model(network, tmp_path / "model.pt")
    assert network.training
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@four_classes
def test_training_may_start_from_a_model_and_what_only_trains_keeps_its_weights(network, model, other, images):
    before = copied_state(other)
    load_trained_weights(other, model)
    assert torch.equal(predict(other, images), predict(network, images))
    predicting = {value.data_ptr() for value in inference_network(other).state_dict().values()}
    for name, value in other.state_dict().items():
        assert value.data_ptr() in predicting or torch.equal(value, before[name]), name


@four_classes
def test_training_may_start_from_the_best_of_a_stage(network, other, tmp_path):
    save_atomically({"model": network.state_dict()}, tmp_path / "best.pt")
    frozen = {name for name in network.state_dict() if name.startswith("first_stage.")}  # stays as configured
    load_trained_weights(other, tmp_path / "best.pt")
    state = network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items() if name not in frozen)
