from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.methods import Distilled
from custom.methods.distilled import Targets, cut_and_mix, with_background
from custom.methods.trainer import Batch
from custom.networks import load_model
from custom.transforms import LoadImageAndLabeld
from tests.bundles.conftest import config_file, train, write_phantom_dataset
from tests.bundles.test_methods import save_teacher
from tests.methods.conftest import dice_of, disc_batches, discs, make_trainer, make_unet, run
from tests.methods.test_fixmatch import PixelNetwork, pixels, supervised_by_hand

IMAGES = pixels([(0.3, 0.7), (0.6, 0.4)], [(0.5, 0.5), (0.8, 0.2)])
"""A labelled image and an unlabelled one, whose colours are the logits of `PixelNetwork`."""
LABELS = torch.tensor([[[[1.0, 0.0]]]])
TAUGHT = torch.tensor([[[[0.25, 0.8]]]])


def make_distilled(network=None, data=None, **options):
    options = {"cutmix_probability": 0.0, **options}
    return make_trainer(Distilled, network or PixelNetwork(), data or [{}], **options)


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_loss_is_the_supervised_one_of_labelled_rows_and_the_teachers_of_the_others(weight):
    trainer = make_distilled(distillation_weight=weight)
    loss, terms = trainer.loss(Batch(IMAGES, LABELS, extra={"soft_label": TAUGHT}), 0.1)
    supervised = sum(supervised_by_hand(IMAGES[:1, :2].exp(), LABELS)).item() / 2
    probabilities, targets = IMAGES[1:, :2].exp(), torch.cat([1 - TAUGHT, TAUGHT], dim=1)
    cross_entropy = -(targets * probabilities.log()).sum(dim=1).mean()
    overlap, size = (targets * probabilities).sum((0, 2, 3)), (targets**2 + probabilities**2).sum((0, 2, 3))
    distillation = ((cross_entropy + 1 - (2 * overlap / size).mean()) / 2).item()
    assert terms["supervised"].item() == pytest.approx(supervised, abs=1e-4)
    assert terms["distillation"].item() == pytest.approx(distillation, abs=1e-4)
    assert loss.item() == pytest.approx(supervised + weight * distillation, abs=1e-4)


def test_without_unlabelled_images_the_supervised_loss_is_all():
    loss, terms = make_distilled(cutmix_probability=1.0).loss(Batch(IMAGES[:1], LABELS), 0.1)
    assert loss is terms["supervised"] and list(terms) == ["supervised"]


def test_the_background_has_what_the_foreground_leaves():
    foreground = torch.tensor([[0.2, 0.5, 0.0], [0.3, 0.75, 0.0]]).reshape(1, 2, 1, 3)
    expected = torch.tensor([[0.5, 0.0, 1.0], [0.2, 0.4, 0.0], [0.3, 0.6, 0.0]]).reshape(1, 3, 1, 3)
    torch.testing.assert_close(with_background(foreground), expected)


def targets_of_four(size=16):
    """Images of one grey each, two of them labelled, and what says from which image a target is."""
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, size, size)
    labels = images[:2, :1].clone()
    taught = (images[2:, :1] / 10).clone()
    return images, Targets.of(Batch(images, labels, extra={"soft_label": taught}))


def test_mixing_moves_images_masks_and_teachers_predictions_alike():
    images, targets = targets_of_four()
    foreign = 0
    for seed in range(20):
        torch.manual_seed(seed)
        mixed, (labels, taught) = cut_and_mix(images, targets, 1.0)
        source = mixed[:, :1]
        assert torch.equal(labels, source.where(source < 2, IGNORED_LABEL))
        expected = (source / 10).where(source >= 2, 0)
        torch.testing.assert_close(taught[:, 1:], expected)
        assert torch.equal(taught.sum(dim=1, keepdim=True) > 0, source >= 2)
        own = torch.arange(4.0).reshape(4, 1, 1, 1)
        for place, number in zip(source != own, range(4), strict=True):
            rows, columns = (place[0].any(dim=axis).nonzero().flatten() for axis in (1, 0))
            if len(rows):  # a full rectangle of one other image
                part = source[number, 0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
                assert part.unique().numel() == 1 and part.numel() == place.sum()
        foreign += (source != own).float().mean().item() / 20
    assert 0.05 < foreign < 0.4


def test_a_probability_of_zero_mixes_nothing():
    images, targets = targets_of_four()
    mixed, (labels, taught) = cut_and_mix(images, targets, 0.0)
    assert torch.equal(mixed, images) and torch.equal(labels, targets.labels) and torch.equal(taught, targets.taught)


def test_the_teacher_gets_no_gradient_and_the_network_does():
    taught = TAUGHT.clone().requires_grad_()
    trainer = make_distilled()
    loss, _ = trainer.loss(Batch(IMAGES, LABELS, extra={"soft_label": taught}), 0.1)
    loss.backward()
    assert taught.grad is None or not taught.grad.any()
    assert trainer.network.scale.grad.abs() > 0


def test_batches_without_soft_labels_and_probabilities_out_of_range_are_refused():
    with pytest.raises(InputError, match="Distilled needs a 'soft_label' of each unlabelled image"):
        make_distilled().loss(Batch(IMAGES, LABELS), 0.1)
    with pytest.raises(InputError, match="cutmix_probability 50: give a probability from 0 to 1"):
        make_distilled(cutmix_probability=50)


@pytest.mark.learning
def test_it_learns_the_teachers_discs_where_masks_say_nothing():
    """With no decided pixel in any mask, all that is learnt comes from the teacher."""
    batches, (_, truth) = disc_batches(), discs(8, seed=2)
    for index, batch in enumerate(batches):
        batch["labelled"]["label"].fill_(IGNORED_LABEL)
        batch["unlabelled"]["soft_label"] = 0.1 + 0.8 * truth[2 * index : 2 * index + 2]
    network = make_unet()
    run(make_distilled(network, batches, cutmix_probability=0.5, max_epochs=15, learning_rate=0.05, momentum=0.9))
    assert dice_of(network) > 0.7


def test_the_overlay_moves_the_teachers_prediction_as_it_moves_mask_and_image(tmp_path):
    """The teacher is replaced by the mask itself, so that label and soft label must stay the same."""
    write_phantom_dataset(tmp_path, labelled=2, unlabelled=1, validation=1, test=1, image_size=96)
    parser = ConfigParser()
    parser.read_config([config_file("train.yaml"), config_file("methods/distilled.yaml")])
    parser.update({"dataset_dir": str(tmp_path), "image_size": 64, "labelled": "all", "num_workers": 0})
    parser.update({f"augmentation#{name}#prob": 1.0 for name in ("flip_left_right", "rotate", "affine", "colour")})
    item = dict(parser.get_parsed_content("data")["labelled"][0])
    mask = LoadImageAndLabeld(["image", "label"])(item)["label"]
    np.save(tmp_path / "0.npy", (255 * np.asarray(mask)).astype(np.uint8))
    item["soft_label"] = str(tmp_path / "0.npy")
    transform = parser.get_parsed_content("train#preprocessing")
    for seed in range(4):
        moved = transform.set_random_state(seed)(item)
        assert moved["label"].shape == moved["soft_label"].shape == (1, 64, 64)
        label, soft = moved["label"], moved["soft_label"]
        dice = 2 * (label * soft).sum() / (label + soft).sum()
        assert dice > 0.85  # all but edges of interpolation
        assert soft.min() >= 0 and soft.max() <= 1


def test_the_overlay_trains_a_small_network_with_imagenet_weights_from_two_teachers(tmp_path):
    write_phantom_dataset(tmp_path / "data", labelled=2, unlabelled=2, validation=1, test=1, image_size=32)
    teacher = save_teacher(tmp_path)
    options = {"segmentation_epochs": 1, "first_stage": "none", "teacher": [teacher, teacher]}
    folder = train(tmp_path / "data", tmp_path / "runs", files=("train.yaml", "methods/distilled.yaml"), **options)
    network = load_model(folder / "model.pt")
    assert network.architecture["encoder"] == "efficientnet-lite0"
    assert 4.1e6 < sum(parameter.numel() for parameter in network.parameters()) < 4.3e6
    assert sorted(path.name for path in (folder / "teacher").iterdir()) == ["000000.npy", "000001.npy", "teacher.json"]
