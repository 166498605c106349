from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from custom.errors import InputError
from custom.methods import BSNet
from custom.methods.bs_net import groups_of_both
from custom.methods.trainer import Batch, dice_and_cross_entropy
from custom.networks import BSNetNetworks, PredictionDiscriminator
from custom.networks.training_networks import move_towards
from tests.methods.conftest import WIDTHS, make_batch, make_trainer, moved, run

PLAIN = {"widths": WIDTHS, "dropout": (0.0,) * 5, "seed": 0}


def trainer_at(progress, network=None, **options):
    trainer = make_trainer(BSNet, network or BSNetNetworks(**PLAIN), [{}], **options)
    trainer.state.epoch_length, trainer.state.max_epochs = 1, 100
    trainer.state.iteration = round(100 * progress) + 1
    return trainer


def batch_of(labelled=2, unlabelled=2, size=32):
    parts = make_batch(labelled, unlabelled, size=size)
    return Batch.read(parts, torch.device("cpu"))


def test_the_students_loss_is_the_sum_of_its_terms():
    batch, trainer = batch_of(), trainer_at(0.5)
    a, b, discriminator = (copy.deepcopy(trainer.network).train().get_submodule(name) for name in PARTS)
    loss, terms = trainer.student_loss(batch, 0.3)
    f_a, p_b, u = a.logits(batch.images), b.logits(batch.images[2:]).softmax(1), batch.images[2:]
    expected = {
        "supervised_first": dice_and_cross_entropy()(f_a[:2], batch.labels),
        "consistency": mse_loss(f_a[2:].softmax(1), p_b),
        "cross_first": cross_entropy(f_a[2:], p_b.argmax(1)),
        "adversarial": cross_entropy(discriminator(f_a[2:].softmax(1), u), torch.tensor([1, 1])),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {name: term.item() for name, term in expected.items()}, rel=1e-4
    )
    supervised = terms.pop("supervised_first")
    assert loss.item() == pytest.approx((supervised + 0.3 * sum(terms.values())).item(), rel=1e-5)


PARTS = ("deployed", "second", "discriminator")


def test_the_students_loss_gives_neither_teacher_nor_discriminator_a_gradient():
    trainer = trainer_at(0.5)
    loss, _ = trainer.student_loss(batch_of(), 1.0)
    loss.backward()
    reached = {
        name for name in PARTS if any(p.grad is not None for p in trainer.network.get_submodule(name).parameters())
    }
    assert reached == {"deployed"}
    assert all(parameter.requires_grad for parameter in trainer.network.parameters())


def test_the_adversarial_term_moves_the_student():
    trainer = trainer_at(0.0)
    _, terms = trainer.student_loss(batch_of(), 1.0)
    terms["adversarial"].backward()
    assert trainer.network.first.heads[0].weight.grad.any()


def test_before_the_start_the_student_learns_nothing_from_the_teacher():
    _, terms = trainer_at(0.03).student_loss(batch_of(), 1.0)
    assert set(terms) == {"supervised_first", "adversarial"}


def test_the_discriminator_tells_labelled_from_unlabelled_rows():
    trainer, batch = trainer_at(0.5), batch_of(1, 2)
    probabilities = torch.rand(3, 2, 32, 32).softmax(1)
    answers = trainer.network.discriminator(probabilities, batch.images)
    expected = -(answers.log_softmax(1)[0, 1] + answers.log_softmax(1)[1:, 0].sum()) / 3
    assert trainer.discriminator_loss(batch, probabilities).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_teacher_learns_labels_and_the_students_classes_at_full_weight():
    trainer, batch = trainer_at(0.0), batch_of()
    probabilities = torch.rand(4, 2, 32, 32).softmax(1)
    logits = copy.deepcopy(trainer.network.second).train().logits(batch.images)
    loss, _ = trainer.teacher_loss(batch, probabilities)
    expected = dice_and_cross_entropy()(logits[:2], batch.labels) + cross_entropy(
        logits[2:], probabilities[2:].argmax(1)
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


def test_both_networks_are_equal_after_the_first_iteration_and_not_after_the_second():
    for iterations, equal in ((1, True), (2, False)):
        network = BSNetNetworks(**PLAIN)
        run(make_trainer(BSNet, network, [make_batch(size=32)] * iterations))
        pairs = zip(network.first.parameters(), network.second.parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs) == equal
    buffers = zip(network.first.buffers(), network.second.buffers(), strict=True)
    assert not all(torch.equal(one, other) for one, other in buffers)  # each has statistics of its own


def test_parameters_move_by_one_minus_the_decay():
    moved_layer, target = nn.Linear(1, 1), nn.Linear(1, 1)
    expected = 0.9 * moved_layer.weight.item() + 0.1 * target.weight.item()
    move_towards(moved_layer, target, 0.9)
    assert moved_layer.weight.item() == pytest.approx(expected)
    assert [trainer_at(progress).decay for progress in (0, 0.01, 0.99)] == [0, 0.5, 0.99]


def test_the_discriminators_update_leaves_both_networks_alone():
    trainer = trainer_at(0.5)
    before = copy.deepcopy(trainer.network)
    trainer._update_discriminator(batch_of(), torch.rand(4, 2, 32, 32).softmax(1))
    changed = moved(before, trainer.network)
    assert changed and all(name.startswith("discriminator.") for name in changed)


@pytest.mark.parametrize(("decay", "last"), [("polynomial", 0.75**0.9), ("cumulative", (0.5 * 0.25) ** 0.9)])
def test_the_discriminators_learning_rate(decay, last):
    trainer = trainer_at(0.0, discriminator_decay=decay)
    trainer.state.max_epochs = 4
    for trainer.state.iteration in (1, 2) if decay == "polynomial" else (1, 3, 4):
        trainer._update_discriminator(batch_of(), torch.rand(4, 2, 32, 32).softmax(1))
    (group,) = trainer.optimizers["discriminator"].param_groups
    assert group["lr"] == pytest.approx(0.001 * last)


def test_without_unlabelled_images_both_learn_labels_alone():
    trainer = trainer_at(0.5)
    before = copy.deepcopy(trainer.network)
    loss, terms = trainer.step(batch_of(2, 0), 1.0)
    assert loss.item() == pytest.approx(sum(term.item() for term in terms.values()))
    assert set(terms) == {"supervised_first", "supervised_second"}
    assert not any(name.startswith("discriminator.") for name in moved(before, trainer.network))


@pytest.mark.parametrize("encoder", ["none", "efficientnet-lite0"])
def test_the_teacher_learns_with_a_tenth_of_the_rate(encoder):
    networks = BSNetNetworks(encoder=encoder, seed=0)
    groups = groups_of_both(networks, 1.0, encoder_factor=0.5)
    assert [group["lr"] for group in groups] == pytest.approx([1.0, 0.1] if encoder == "none" else [0.5, 1, 0.05, 0.1])
    held = {id(parameter) for group in groups for parameter in group["params"]}
    assert held == {id(parameter) for net in (networks.first, networks.second) for parameter in net.parameters()}


def test_the_discriminator_is_as_large_as_the_released_one_and_sees_the_foreground_of_all_classes():
    assert sum(parameter.numel() for parameter in PredictionDiscriminator().parameters()) == 190_114
    network, images = PredictionDiscriminator(4), torch.rand(1, 3, 32, 32)
    probabilities = torch.rand(1, 4, 32, 32)
    answer = network(probabilities, images)
    probabilities[:, 0] = 0
    assert torch.equal(network(probabilities, images), answer)
    probabilities[:, 3] = 0
    assert not torch.equal(network(probabilities, images), answer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"discriminator_decay": "none"}, "choose 'polynomial' or 'cumulative'"),
        ({"start": 1.5}, "start 1.5: give a share"),
        ({"discriminator_learning_rate": math.nan}, "discriminator_learning_rate nan: give a number above 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        trainer_at(0.0, **options)


def test_it_trains_with_another_encoder_and_four_classes():
    network = BSNetNetworks(4, encoder="efficientnet-lite0", seed=0)
    (output,) = run(make_trainer(BSNet, network, [make_batch(num_classes=4, size=64)], start=0.0))
    assert output["cross_first"] > 0
