from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.losses import ClassWeightedLoss, DifficultyWeights
from custom.methods import GenericSSL
from custom.methods.genericssl import smooth
from custom.networks import UNetWithDenoiser
from tests.methods.conftest import WIDTHS, make_batch, make_trainer, run


class Answers(nn.Module):
    """Stands for the networks: every decoder answers with a table of logits of its own, [1, K, 1, W]."""

    num_classes = 3

    def __init__(self, xi, psi, theta, sampled):
        super().__init__()
        tables = {"xi": xi, "psi": psi, "theta": theta, "sampled": sampled}
        self.tables = nn.ParameterDict({name: torch.tensor(rows).T[None, :, None] for name, rows in tables.items()})
        self.moved = []

    @property
    def deployed(self):
        return self

    def _answer(self, name, images):
        return self.tables[name].expand(len(images), -1, -1, -1)

    def logits(self, images):
        return self._answer("theta", images)

    def labelled_logits(self, images):
        return self._answer("psi", images)

    def add_noise(self, labels):
        return one_hot(labels[:, 0].long(), 3).movedim(-1, 1), torch.zeros(len(labels))

    def denoised_logits(self, images, noisy, steps):
        return self._answer("xi", images)

    def sample(self, images):
        return self._answer("sampled", images).detach()

    def average_decoders(self, share):
        self.moved.append(share)


def make_answers():
    return Answers(
        xi=[[2.0, 0.0, 1.0], [0.0, 1.0, 3.0]],
        psi=[[1.0, 2.0, 0.0], [0.0, 0.0, 0.5]],
        theta=[[0.0, 1.0, 0.5], [2.0, 1.0, 0.0]],
        sampled=[[-1.0, 1.0, -1.0], [1.0, -1.0, -1.0]],
    )


def batch_of(unlabelled):
    parts = {"labelled": {"image": torch.zeros(1, 3, 1, 2), "label": torch.tensor([0.0, 2.0]).reshape(1, 1, 1, 2)}}
    return parts | ({"unlabelled": {"image": torch.zeros(1, 3, 1, 2)}} if unlabelled else {})


def make_networks(num_classes=2, **arguments):
    settings = {"widths": WIDTHS, "seed": 0, "sampling_steps": 2, "time_channels": 16}
    return UNetWithDenoiser(num_classes, **settings | arguments)


@pytest.mark.parametrize(("pseudo_from", "classes"), [("psi", [1, 2]), ("both", [1, 0])])
def test_an_iteration_equals_the_formulas(pseudo_from, classes):
    """With both, at the second pixel psi's 0.45 of class 2 gives way to 0.60 of class 0, 0.79 before the smoothing."""
    networks, batch = make_answers(), batch_of(1)
    tables = {name: table.detach().clone() for name, table in networks.tables.items()}
    (output,) = run(make_trainer(GenericSSL, networks, [batch], gumbel=False, pseudo_from=pseudo_from))
    loss, labels = ClassWeightedLoss(), batch["labelled"]["label"]
    difficulty = DifficultyWeights(3, normalised=False).update(tables["xi"], labels)
    expected = {
        "supervised_denoised": loss(tables["xi"], labels),
        "supervised_weighted": loss(tables["psi"], labels, difficulty),
        "consistency": loss(tables["theta"], torch.tensor(classes).reshape(1, 1, 1, 2)),
    }
    expected = {name: term.item() for name, term in expected.items()}
    assert {name: output[name].item() for name in expected} == pytest.approx(expected, rel=1e-5)
    supervised = expected["supervised_denoised"] + expected["supervised_weighted"]
    assert output["loss"] == pytest.approx(supervised + 0.1 * math.exp(-5) * expected["consistency"])
    assert networks.moved == [0.01]


def test_smoothing_is_a_normalised_gaussian_of_three_pixels():
    spike = torch.zeros(1, 1, 5, 5)
    spike[..., 2, 2] = 1
    side, middle = (weight / (2 * math.exp(-0.5) + 1) for weight in (math.exp(-0.5), 1))
    found = smooth(spike)[0, 0]
    assert found[2].tolist() == pytest.approx([0, side * middle, middle**2, side * middle, 0])
    assert found[1, 1].item() == pytest.approx(side**2)
    torch.testing.assert_close(smooth(torch.ones(1, 2, 3, 3)), torch.ones(1, 2, 3, 3))


def test_the_denoised_maps_get_gumbel_noise_unless_it_is_off():
    networks, images = make_answers(), torch.zeros(4, 3, 1, 2)
    noisy, still = (make_trainer(GenericSSL, networks, [], gumbel=gumbel) for gumbel in (True, False))
    torch.manual_seed(0)
    assert len({tuple(noisy.pseudo_labels(images).flatten().tolist()) for _ in range(8)}) > 1
    assert still.pseudo_labels(images).flatten().tolist() == [1, 0] * 4


def reached_by(networks, term):
    trainer = make_trainer(GenericSSL, networks, [make_batch(size=32)])
    reached = set()

    def step(batch, weight):
        loss, terms = trainer.loss(batch, weight)
        terms[term].backward(retain_graph=True)
        for name, parameter in networks.named_parameters():
            if parameter.grad is not None and parameter.grad.any():
                reached.add(
                    ".".join(name.split(".")[:2]) if name.startswith(("deployed", "heads")) else name.split(".")[0]
                )
        return loss, terms

    trainer.step = step
    run(trainer)
    return reached


@pytest.mark.parametrize(
    ("term", "parts"),
    [
        ("supervised_denoised", {"stem", "time_embedding", "time_projections", "xi", "heads.xi", "deployed.encoder"}),
        ("supervised_weighted", {"psi", "heads.psi", "deployed.encoder"}),
        ("consistency", {"deployed.encoder", "deployed.decoders", "deployed.heads"}),
    ],
)
def test_each_term_teaches_the_encoder_and_its_own_decoder(term, parts):
    assert reached_by(make_networks(), term) == parts


def test_theta_moves_towards_the_mean_of_the_others_before_the_step():
    networks = make_networks()
    before = copy.deepcopy(networks)
    run(make_trainer(GenericSSL, networks, [make_batch(2, 0, size=32)], learning_rate=1e-30, average_share=0.25))
    for name in ("stages.0.up.weight", "stages.3.block.first.conv.weight"):
        old = before.deployed.decoders[0].get_parameter(name)
        mean = (before.xi.get_parameter(name) + before.psi.get_parameter(name)) / 2
        torch.testing.assert_close(networks.deployed.decoders[0].get_parameter(name), 0.75 * old + 0.25 * mean)
    mean = (before.heads["xi"].weight + before.heads["psi"].weight) / 2
    torch.testing.assert_close(networks.deployed.heads[0].weight, 0.75 * before.deployed.heads[0].weight + 0.25 * mean)


def test_noisy_labels_and_pseudo_labels_move_no_running_average():
    networks = make_networks()
    trainer = make_trainer(GenericSSL, networks, [])
    networks.train()
    before = copy.deepcopy(networks.deployed.encoder.state_dict())
    trainer.pseudo_labels(torch.rand(2, 3, 32, 32))
    after = networks.deployed.encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if "running" in name)


def test_labels_are_mapped_to_minus_1_and_1_and_ignored_pixels_to_0():
    networks = make_networks(3)
    networks.diffusion.add_noise = lambda clean: (clean, None)
    clean, _ = networks.add_noise(torch.tensor([0.0, 2.0, IGNORED_LABEL]).reshape(1, 1, 1, 3))
    assert clean[0, :, 0].T.tolist() == [[1, -1, -1], [-1, -1, 1], [0, 0, 0]]


def test_the_diffusion_is_linear_over_1000_steps_and_sampled_in_ten():
    diffusion = make_networks(sampling_steps=10).diffusion
    betas = torch.linspace(1e-4, 0.02, 1000)
    torch.testing.assert_close(diffusion.schedule.alphas_cumprod, (1 - betas).cumprod(0))
    assert diffusion.sampling == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "resnet18"])
def test_it_trains_with_another_encoder(encoder):
    networks = UNetWithDenoiser(4, encoder=encoder, seed=0, sampling_steps=2)
    (output,) = run(make_trainer(GenericSSL, networks, [make_batch(1, 1, 4, size=65)]))
    assert math.isfinite(output["loss"])


@pytest.mark.parametrize("wrong", [{"pseudo_from": "xi"}, {"average_share": 2.0}])
def test_a_wrong_option_is_an_input_error(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        make_trainer(GenericSSL, make_networks(), [], **wrong)
