from __future__ import annotations

import copy

import pytest
import torch

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.methods import BidirectionalCopyPaste, bcp
from custom.methods.bcp import halves
from custom.methods.trainer import Batch
from custom.networks import MeanTeacher, UNetWithTeacher
from tests.bundles.conftest import train, write_phantom_dataset
from tests.methods.conftest import make_batch, make_trainer, make_unet, run
from tests.methods.test_ict import PixelNetwork

SIZE = 6
MASK = torch.ones(1, 1, SIZE, SIZE)
MASK[..., 1:5, 2:6] = 0
INSIDE = MASK[0, 0] == 0


@pytest.fixture(autouse=True)
def _fixed_rectangle(monkeypatch):
    monkeypatch.setattr(
        bcp, "copy_paste_mask", lambda height, width, **_: MASK if height == SIZE else torch.ones(1, 1, height, width)
    )


def trainer_at(progress, network=None, **options):
    """A trainer in its run at `progress`, whose `loss` can be called by itself."""
    network = network or MeanTeacher(PixelNetwork(), warm_up=False)
    trainer = make_trainer(BidirectionalCopyPaste, network, [{}], **options)
    trainer.state.epoch_length, trainer.state.max_epochs = 1, 100
    trainer.state.iteration = round(100 * progress) + 1
    return trainer


def random_batch(labelled=2, unlabelled=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(labelled + unlabelled, 3, SIZE, SIZE, generator=generator)
    return Batch(images, torch.randint(2, (labelled, 1, SIZE, SIZE), generator=generator).float())


def by_hand(images, labels, region):
    """Half of Dice loss and cross-entropy of the colours as logits, pixel by pixel of a region [H, W]."""
    cross_entropy, pixels = 0.0, 0
    overlap, truth, predicted = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
    for image, label in zip(images, labels, strict=True):
        for row, column in region.nonzero().tolist():
            p, y = image[:2, row, column].softmax(dim=0).tolist(), int(label[0, row, column])
            cross_entropy -= torch.tensor(p[y]).log().item()
            pixels += 1
            for k in range(2):
                overlap[k] += p[k] * (k == y)
                truth[k] += k == y
                predicted[k] += p[k] ** 2
    dice = [1 - (2 * overlap[k] + 1e-5) / (truth[k] + predicted[k] + 1e-5) for k in range(2)]
    return (sum(dice) / 2 + cross_entropy / pixels) / 2


def paste(outside, inside):
    """`inside` in the rectangle, pixel by pixel."""
    mixed = outside.clone()
    for row, column in INSIDE.nonzero().tolist():
        mixed[..., row, column] = inside[..., row, column]
    return mixed


def test_pretraining_mixes_labelled_halves_and_compares_each_region_with_its_own_label():
    batch = random_batch()
    loss, terms = trainer_at(0.24).loss(batch, 0.0)
    x = paste(batch.images[:1], batch.images[1:2])
    expected = by_hand(x, batch.labels[:1], ~INSIDE) + by_hand(x, batch.labels[1:], INSIDE)
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    assert list(terms) == ["supervised"]


def test_self_training_pastes_both_ways_and_halves_the_pseudo_labels():
    batch = random_batch()
    trainer = trainer_at(0.25, one_connected_component=False)
    a, b, u, v = batch.images.split(1)
    y_a, y_b = batch.labels.split(1)
    z_u, z_v = (image[:, :2].argmax(dim=1, keepdim=True) for image in (u, v))
    inward, outward = paste(u, a), paste(b, v)
    loss, terms = trainer.loss(batch, 0.0)
    supervised = by_hand(inward, y_a, INSIDE) + by_hand(outward, y_b, ~INSIDE)
    consistency = by_hand(inward, z_u, ~INSIDE) + by_hand(outward, z_v, INSIDE)
    assert terms["supervised"].item() == pytest.approx(supervised, abs=1e-5)
    assert terms["consistency"].item() == pytest.approx(consistency, abs=1e-5)
    assert loss.item() == pytest.approx(supervised + 0.5 * consistency, abs=1e-5)


def test_a_regions_loss_does_not_depend_on_pixels_outside_it_nor_on_undecided_ones():
    trainer = trainer_at(0.0)
    logits, labels = torch.randn(2, 2, SIZE, SIZE), torch.randint(2, (2, 1, SIZE, SIZE)).float()
    labels[:, :, 2, 3] = IGNORED_LABEL
    expected = trainer._region_loss(logits, labels, 1 - MASK)
    changed = torch.where(MASK.bool(), 50 * torch.randn(logits.shape), logits)
    changed[:, :, 2, 3] = 70.0
    other_labels = torch.where(MASK.bool(), 1 - labels, labels)
    assert trainer._region_loss(changed, other_labels, 1 - MASK).item() == expected.item()


def test_without_mixing_the_scale_stays_and_whole_images_are_compared():
    batch, whole = random_batch(), torch.ones(SIZE, SIZE, dtype=torch.bool)
    supervised = by_hand(batch.images[:2], batch.labels, whole)
    pseudo = batch.images[2:, :2].argmax(dim=1, keepdim=True)
    options = {"mixing": False, "one_connected_component": False}
    assert trainer_at(0.0, **options).loss(batch, 0.0)[0].item() == pytest.approx(2 * supervised, abs=1e-5)
    expected = 2 * supervised + 0.5 * 2 * by_hand(batch.images[2:], pseudo, whole)
    assert trainer_at(0.5, **options).loss(batch, 0.0)[0].item() == pytest.approx(expected, abs=1e-5)


def test_halves_of_even_odd_and_single_rows():
    def pairs(count):
        return [half.tolist() for half in halves(torch.arange(count))]

    assert pairs(4) == [[0, 1], [2, 3]]
    assert pairs(3) == [[0, 1, 2], [1, 2, 0]]
    assert pairs(1) == [[0], [0]]


@pytest.mark.parametrize(("labelled", "unlabelled"), [(1, 1), (3, 2), (2, 5), (4, 1)])
def test_every_image_takes_part_whatever_the_numbers(labelled, unlabelled):
    batch = random_batch(labelled, unlabelled)
    images = batch.images.requires_grad_()
    loss, _ = trainer_at(0.5).loss(Batch(images, batch.labels), 0.0)
    loss.backward()
    assert (images.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


@pytest.mark.parametrize(("one_piece", "kept"), [(True, 1), (False, 2)])
def test_pseudo_labels_keep_the_largest_piece_of_each_class_where_the_data_have_one(one_piece, kept):
    image = torch.zeros(1, 3, SIZE, SIZE)
    image[:, 1, :2, :2] = 1.0  # four pixels
    image[:, 1, 5, 5] = 1.0  # and one far away
    trainer = trainer_at(0.5, one_connected_component=one_piece)
    labels = trainer.pseudo_labels(image)
    assert labels.shape == (1, 1, SIZE, SIZE)
    assert labels.sum() == (4 if kept == 1 else 5)


def test_the_teacher_waits_is_the_student_at_the_switch_and_follows_with_a_constant_decay(monkeypatch):
    network = MeanTeacher(make_unet(dropout=False), warm_up=False)
    start = copy.deepcopy(network.teacher.state_dict())
    seen = []
    original = BidirectionalCopyPaste.pseudo_labels

    def watch(self, images):
        seen.append([copy.deepcopy(net.heads[0].weight) for net in (self.network.student, self.network.teacher)])
        return original(self, images)

    monkeypatch.setattr(BidirectionalCopyPaste, "pseudo_labels", watch)
    trainer = make_trainer(
        BidirectionalCopyPaste, network, [make_batch(size=32, seed=seed) for seed in range(4)], pretrain_share=0.5
    )
    held = []
    original_after = trainer.after_step

    def after_step():
        original_after()
        held.append(copy.deepcopy(network.teacher.heads[0].weight))

    trainer.after_step = after_step
    run(trainer)
    assert torch.equal(held[0], start["heads.0.weight"]) and torch.equal(held[1], held[0])
    (student, teacher), (next_student, next_teacher) = seen
    assert torch.equal(student, teacher) and not torch.equal(student, held[0])
    assert torch.allclose(next_teacher, 0.99 * teacher + 0.01 * next_student, atol=1e-7)


def test_without_unlabelled_images_the_supervised_loss_is_all():
    batch = random_batch(unlabelled=0)
    for progress in (0.0, 0.5):
        loss, terms = trainer_at(progress).loss(batch, 0.0)
        assert loss is terms["supervised"] and list(terms) == ["supervised"]
        assert loss.item() == pytest.approx(by_hand(batch.images, batch.labels, INSIDE | ~INSIDE), abs=1e-5)


def test_it_trains_with_another_encoder_and_four_classes():
    network = UNetWithTeacher(4, warm_up=False, encoder="efficientnet-lite0", seed=0)
    (output,) = run(
        make_trainer(BidirectionalCopyPaste, network, [make_batch(num_classes=4, size=64)], pretrain_share=0.0)
    )
    assert output["consistency"] > 0


@pytest.mark.parametrize(
    ("options", "message"), [({"pretrain_share": 2}, "from 0 to 1"), ({"alpha": 0.0}, "must be above 0")]
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        trainer_at(0.0, **options)


def test_the_overlay_trains(tmp_path):
    write_phantom_dataset(tmp_path / "data", labelled=2, unlabelled=2, validation=1, test=1, image_size=32)
    options = {"segmentation_epochs": 2, "first_stage": "none", "train#method#mixing": False}
    folder = train(tmp_path / "data", tmp_path / "runs", files=("train.yaml", "methods/bcp.yaml"), **options)
    assert (folder / "model.pt").is_file()
