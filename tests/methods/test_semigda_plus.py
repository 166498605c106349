from __future__ import annotations

import copy

import pytest
import torch
from ignite.engine import Events
from torch import nn

from custom.errors import InputError
from custom.labels import IGNORED_LABEL, LabelCodec
from custom.losses import ConsistencyWeight, SoftLabelDiceLoss
from custom.methods import SemiGDAPlus, SemiGDASegmentation
from custom.methods.trainer import Batch
from custom.networks import BranchOutputs, SemiGDA
from tests.conftest import CONFIGS, perturb
from tests.methods.conftest import make_batch, make_trainer, run

OFF = {"teacher": False, "strong_view": False, "cutmix": False}


@pytest.fixture
def network():
    return SemiGDA(CONFIGS["tiny"], width=4, mapper_width=8, dropout=0.0, latent_noise="off", seed=0)


def make(network, batches=(), **arguments):
    arguments = {"consistency_weight": ConsistencyWeight(beta=1.0), **arguments}
    return make_trainer(SemiGDAPlus, network, list(batches), **arguments)


def read(unlabelled=3, **arguments):
    return Batch.read(make_batch(2, unlabelled, strong=True, **arguments), torch.device("cpu"))


class Teller(nn.Module):
    """Says what it sees: the image's first channel times a number of each branch, and in training nothing at all."""

    num_classes = 2

    def __init__(self):
        super().__init__()
        self.factors = nn.Parameter(torch.tensor([0.5, 1.0]))
        self.label_codec = LabelCodec(2)

    def predict_branches(self, images):
        factors = self.factors * (0 if self.training else 1)
        return BranchOutputs(factors[0] * images[:, :1], factors[1] * images[:, :1])

    def soft_labels(self, images):
        return sum(self.predict_branches(images)) / 2

    def forward(self, images):
        return self.soft_labels(images)


# The pseudo-labels


def test_the_teacher_is_the_mean_of_the_branches_of_the_averaged_weights_in_evaluation_mode():
    trainer, images = make(Teller().train()), torch.rand(2, 3, 8, 8)
    trainer.average.update()
    trainer.average.weights["factors"].copy_(torch.tensor([0.2, 0.6]))
    pseudo = trainer.pseudo_labels_of(images)
    for labels in pseudo:
        torch.testing.assert_close(labels, 0.4 * images[:, :1])
    assert trainer.network.training
    assert trainer.network.factors.tolist() == [0.5, 1.0]


def test_before_its_first_update_the_teacher_is_the_network_which_may_have_been_loaded_since():
    trainer, images = make(Teller()), torch.rand(2, 3, 8, 8)
    nn.init.constant_(trainer.network.factors, 0.3)
    torch.testing.assert_close(trainer.pseudo_labels_of(images).mask_branch, 0.3 * images[:, :1])


def test_without_a_teacher_each_branch_gives_its_own_label():
    trainer, images = make(Teller(), teacher=False, ema_decay=None), torch.rand(2, 3, 8, 8)
    pseudo = trainer.pseudo_labels_of(images)
    torch.testing.assert_close(pseudo, BranchOutputs(0.5 * images[:, :1], images[:, :1]))


def test_the_forms_of_a_pseudo_label():
    soft = torch.tensor([0.05, 0.3, 0.85, 0.95]).reshape(1, 1, 1, 4)
    forms = {
        pseudo: make(Teller(), pseudo=pseudo)._form(soft).flatten().tolist() for pseudo in ("soft", "masked", "hard")
    }
    assert forms["soft"] == soft.flatten().tolist()
    assert forms["masked"] == [0, IGNORED_LABEL, IGNORED_LABEL, 1]
    assert forms["hard"] == [0, 0, 0, 1]
    assert make(Teller(), pseudo="masked", threshold=0.8)._form(soft).flatten().tolist() == [0, IGNORED_LABEL, 1, 1]


def test_the_loss_of_a_soft_label_is_smallest_at_the_label_itself():
    """Without squares it is smaller where the prediction is larger than a faint label."""
    loss, plain = make(Teller()).pseudo_loss, SoftLabelDiceLoss(2)
    faint, full = torch.full((1, 1, 4, 4), 0.1), torch.ones(1, 1, 4, 4)
    assert loss(faint, faint) == pytest.approx(0, abs=1e-6)
    assert loss(full, faint) > 0.5
    assert plain(full, faint) < plain(faint, faint)


# What the student sees


def test_the_student_sees_the_weak_view_of_labelled_and_the_strong_one_of_unlabelled_images():
    batch, labels = read(), torch.rand(3, 1, 16, 16)
    strong, pseudo = make(Teller(), cutmix=False).strong_batch(batch, BranchOutputs(labels, labels))
    assert torch.equal(strong.images, torch.cat([batch.images[:2], batch.strong_views[0][2:]]))
    assert torch.equal(pseudo.mask_branch, labels)
    weak, _ = make(Teller(), cutmix=False, strong_view=False).strong_batch(batch, BranchOutputs(labels, labels))
    assert torch.equal(weak.images, batch.images)


def test_cutmix_pastes_the_last_image_into_the_first_and_its_labels_likewise(monkeypatch):
    batch, labels = read(), BranchOutputs(torch.rand(3, 1, 16, 16), torch.rand(3, 1, 16, 16))
    masks = torch.ones(3, 1, 16, 16)
    masks[0, :, :4], masks[1, :, :8] = 0, 0
    monkeypatch.setattr("custom.methods.semigda_plus.cutmix_masks", lambda *_: masks)
    strong, pseudo = make(Teller()).strong_batch(batch, labels)
    seen, before = strong.images[2:], batch.strong_views[0][2:]
    for after, source in ((seen, before), (pseudo.image_branch, labels[0]), (pseudo.mask_branch, labels[1])):
        assert torch.equal(after[0], torch.cat([source[2, :, :4], source[0, :, 4:]], dim=1))
        assert torch.equal(after[1:], source[1:])  # the second is its own partner, the third has no rectangle


def test_an_iteration_by_hand(network):
    """Strong views without CutMix and mixing, soft labels of the network itself."""
    batch = make_batch(strong=True, size=16)
    trainer = make(network, [batch], cutmix=False, mixing_start=1.0)
    by_hand = copy.deepcopy(network)
    teacher = by_hand.eval()(batch["unlabelled"]["image"]).detach()
    seen = torch.cat([batch["labelled"]["image"], batch["unlabelled"]["strong_image"]])
    loss, weight = 0, trainer.consistency_weight(0, 1, 1)
    for branch in by_hand.train().predict_branches(seen):
        p, g = branch[2:].flatten(1), teacher.flatten(1)
        unlabelled = 1 - (2 * (p * g).sum(1) + 1e-5) / ((p * p).sum(1) + (g * g).sum(1) + 1e-5)
        loss = loss + SoftLabelDiceLoss(2)(branch[:2], batch["labelled"]["label"]) + weight * unlabelled.mean()
    (output,) = run(trainer)
    assert output["loss"] == pytest.approx(loss.item(), rel=1e-5)


# Switches


@pytest.mark.parametrize("pseudo", ["hard", "off"])
def test_with_every_switch_off_it_is_semigda_bit_for_bit(pseudo, network):
    other = copy.deepcopy(network)
    batches = [make_batch(strong=True, size=16, seed=seed) for seed in (1, 2)]
    settings = {"pseudo": pseudo, "mixing_start": 0.0}
    first = run(make(network, batches, **OFF, ema_decay=None, **settings))
    weight = ConsistencyWeight(beta=1.0)
    second = run(make_trainer(SemiGDASegmentation, other, batches, consistency_weight=weight, **settings))
    assert [output["loss"] for output in first] == [output["loss"] for output in second]
    state = other.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "change",
    [{"teacher": False}, {"strong_view": False}, {"cutmix": False}, {"pseudo": "masked"}, {"mixing_start": 1.0}],
    ids=lambda change: next(iter(change)),
)
def test_each_switch_changes_what_is_learnt(change, network):
    """In the second iteration, when the teacher is no longer the student."""
    other = copy.deepcopy(network)
    batches = [make_batch(strong=True, size=16, seed=seed) for seed in (1, 2)]
    settings = {"mixing_start": 0.0, "cutmix_probability": 1.0, "threshold": 0.6}
    whole, changed = (
        run(make(each, batches, **{**settings, **more})) for each, more in ((network, {}), (other, change))
    )
    assert whole[-1]["loss"] != changed[-1]["loss"]


def test_only_without_a_strong_view_the_loader_need_not_make_one(network):
    batch = make_batch(size=16)
    assert len(run(make(copy.deepcopy(network), [batch], strong_view=False))) == 1
    with pytest.raises(InputError, match="needs 1 strong views"):
        run(make(network, [batch]))


def test_pseudo_labels_pass_no_gradient_and_the_first_stage_stays(network):
    before = copy.deepcopy(network.first_stage.state_dict())
    run(make(network, [make_batch(strong=True, size=16)]))
    assert all(parameter.grad is None for parameter in network.first_stage.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.first_stage.state_dict().items())
    trainer = make(network, ema_decay=0.9)
    assert not any(labels.requires_grad for labels in trainer.pseudo_labels_of(torch.rand(2, 3, 16, 16)))


def test_the_teacher_follows_the_student_and_holds_no_first_stage(network):
    trainer = make(network, [make_batch(strong=True, size=16)] * 2)
    name, seen = "latent_mapper.conv_in.weight", []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(network.state_dict()[name].clone()))
    run(trainer)
    weights = trainer.stateful_objects()["average"].weights
    assert not any(name.startswith("first_stage.") for name in weights)
    expected = 1 / 11 * seen[0] + 10 / 11 * seen[1]  # the first update copies, the second one has a = 1 / 11
    torch.testing.assert_close(weights[name], expected)


def test_where_the_mask_branch_predicts_alone_nothing_of_the_image_branch_reaches_it():
    """After stage 1; see "The Mask branch alone" in docs/methods.md."""
    batches = [make_batch(strong=True, size=16, seed=seed) for seed in (1, 2)]
    settings = {
        "width": 4,
        "mapper_width": 8,
        "dropout": 0.0,
        "latent_noise": "off",
        "image_branch_weight": 0,
        "seed": 0,
    }
    first = SemiGDA(CONFIGS["tiny"], **settings)
    second = copy.deepcopy(first)
    for module in (second.latent_mapper, second.image_adapters):
        perturb(module)
    before = copy.deepcopy(first.state_dict())
    for network in (first, second):
        torch.manual_seed(0)
        run(make(network, batches, mixing_start=0.0, cutmix_probability=1.0))
    for name in ("trainable_encoder", "latent_head", "mask_adapters"):
        state, other = getattr(first, name).state_dict(), getattr(second, name).state_dict()
        assert all(torch.equal(value, other[key]) for key, value in state.items())
        assert any(not torch.equal(value, before[f"{name}.{key}"]) for key, value in state.items())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pseudo": "ssl4mis"}, "pseudo 'ssl4mis': choose 'soft', 'masked', 'hard' or 'off'"),
        ({"threshold": 1.5}, "threshold 1.5"),
        ({"ema_decay": None}, "teacher: it is the moving average"),
    ],
)
def test_a_wrong_argument_is_one_line(arguments, words, network, message_of):
    with pytest.raises(InputError) as error:
        make(network, **arguments)
    assert words in message_of(error)
