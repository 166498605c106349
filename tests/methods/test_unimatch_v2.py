from __future__ import annotations

import math

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from custom.errors import InputError
from custom.methods import UniMatchV2, unimatch_v2
from custom.methods.trainer import Batch, dice_and_cross_entropy
from custom.methods.unimatch_v2 import complementary_factors
from custom.networks import MeanTeacher, UNet, UNetWithTeacher
from tests.bundles.conftest import config_file, train, write_phantom_dataset
from tests.methods.conftest import make_batch, make_trainer, make_unet, run


class PixelNetwork(nn.Module):
    """The colours themselves are the logits; dropout does nothing."""

    num_classes = 2

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.encoder = nn.Identity()
        self.encoder.widths = (3,)

    def logits(self, images):
        return self.scale * images[:, :2]

    def logits_with_factors(self, images, factors):
        assert [factor.shape for factor in factors] == [(len(images), 3, 1, 1)]
        return self.logits(images)


def make_unimatch(network=None, data=None, **options):
    return make_trainer(UniMatchV2, network or MeanTeacher(PixelNetwork()), data or [{}], **options)


def pixels(*probabilities):
    """Images [B, 3, 1, W] whose second class has the probability probabilities[b][pixel]."""
    foreground = torch.tensor(probabilities)[:, None, None]
    return torch.cat([(1 - foreground).log(), foreground.log(), 0 * foreground], dim=1)


WEAK = pixels([0.7, 0.4], [0.98, 0.6], [0.01, 0.03])  # the first row is labelled
FIRST = pixels([0.5, 0.5], [0.5, 0.9], [0.4, 0.3])
SECOND = pixels([0.5, 0.5], [0.8, 0.5], [0.2, 0.1])
LABELS = torch.tensor([[[[1.0, 0.0]]]])
SUPERVISED = dice_and_cross_entropy()(WEAK[:1, :2], LABELS).item()


@pytest.fixture
def _no_box(monkeypatch):
    monkeypatch.setattr(unimatch_v2, "cutmix_masks", lambda rows, h, w, *_: torch.ones(rows, 1, h, w))


@pytest.mark.usefixtures("_no_box")
def test_the_loss_by_hand():
    loss, terms = make_unimatch().loss(Batch(WEAK, LABELS, (FIRST, SECOND)), 0.1)
    # Certain: 0.98 as class 1, 0.99 and 0.97 as class 0; 0.6 is not. The mean goes over all four pixels.
    first = -(math.log(0.5) + math.log(0.6) + math.log(0.7)) / 4
    second = -(math.log(0.8) + math.log(0.8) + math.log(0.9)) / 4
    assert terms["supervised"].item() == pytest.approx(SUPERVISED, abs=1e-6)
    assert terms["strong_view_1"].item() == pytest.approx(first, abs=1e-5)
    assert terms["strong_view_2"].item() == pytest.approx(second, abs=1e-5)
    assert terms["certain_share"].item() == pytest.approx(3 / 4)
    assert loss.item() == pytest.approx((SUPERVISED + (first + second) / 2) / 2, abs=1e-5)


@pytest.mark.usefixtures("_no_box")
def test_the_dice_form_leaves_uncertain_pixels_out():
    _, terms = make_unimatch(pseudo="dice").loss(Batch(WEAK, LABELS, (FIRST, SECOND)), 0.1)
    # Foreground probabilities of the certain pixels: 0.5 (class 1), 0.4 and 0.3 (class 0).
    foreground = 1 - (2 * 0.5 + 1e-5) / (1 + 0.25 + 0.16 + 0.09 + 1e-5)
    background = 1 - (2 * (0.6 + 0.7) + 1e-5) / (2 + 0.25 + 0.36 + 0.49 + 1e-5)
    assert terms["strong_view_1"].item() == pytest.approx((foreground + background) / 2, abs=1e-5)


@pytest.mark.parametrize("pseudo", ["masked", "dice"])
def test_where_nothing_is_certain_only_labels_teach(pseudo):
    loss, _ = make_unimatch(pseudo=pseudo, threshold=1.0).loss(Batch(WEAK, LABELS, (FIRST, SECOND)), 0.1)
    assert loss.item() == pytest.approx(SUPERVISED / 2, abs=1e-6)


def test_pseudo_label_and_confidence_come_from_the_partner_inside_the_box(monkeypatch):
    masks = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).reshape(2, 1, 1, 2)  # a box on the uncertain pixel of row 0
    monkeypatch.setattr(unimatch_v2, "cutmix_masks", lambda *_: masks)
    _, terms = make_unimatch().loss(Batch(WEAK, LABELS, (FIRST, SECOND)), 0.1)
    # There is now the last row's second pixel, certain of class 0; its image shows 0.3 in the first view.
    expected = -(math.log(0.5) + math.log(0.7) + math.log(0.6) + math.log(0.7)) / 4
    assert terms["strong_view_1"].item() == pytest.approx(expected, abs=1e-5)


def test_the_two_views_have_boxes_of_their_own(monkeypatch):
    calls = []
    monkeypatch.setattr(
        unimatch_v2, "cutmix_masks", lambda rows, h, w, p, _: calls.append((rows, p)) or torch.ones(rows, 1, h, w)
    )
    make_unimatch(cutmix_probability=0.3).loss(Batch(WEAK, LABELS, (FIRST, SECOND)), 0.1)
    assert calls == [(2, 0.3), (2, 0.3)]


@pytest.mark.parametrize(("images", "undropped"), [(1, 0), (2, 1), (5, 2)])
def test_dropped_channels_complement_each_other_and_half_of_the_images_have_none(images, undropped):
    torch.manual_seed(0)
    widths = (40, 50)
    factors = complementary_factors(widths, images)
    assert [factor.shape for factor in factors] == [(2 * images, width, 1, 1) for width in widths]
    for factor in factors:
        first, second = factor.chunk(2)
        assert (first + second == 2).all()
        kept = (factor == 1).flatten(1).all(dim=1).chunk(2)
        assert torch.equal(*kept) and kept[0].sum() == undropped
        assert set(first[~kept[0]].unique().tolist()) == {0.0, 2.0}  # both, so about half of the channels
    assert torch.equal(*[(factor == 1).flatten(1).all(dim=1) for factor in factors])  # the same images at all levels
    assert not torch.equal(*[factor[:, :40] for factor in factors])  # drawn for each level


@pytest.mark.parametrize("encoder", ["none", "efficientnet-lite0", "resnet18"])
def test_undropped_images_are_those_of_a_plain_pass_and_dropped_ones_are_not(encoder):
    network = UNet(3, encoder=encoder, seed=0).eval()
    images = torch.rand(2, 3, 64, 64)
    factors = complementary_factors(network.encoder.widths, 1)
    for factor in factors:
        factor[0] = 1.0
    with torch.no_grad():
        plain, found = network.logits(images), network.logits_with_factors(images, factors)
    assert found.shape == (2, 3, 64, 64)
    assert torch.equal(found[0], plain[0]) and not torch.allclose(found[1], plain[1])


def test_the_teacher_is_in_evaluation_mode_follows_and_gets_no_gradient():
    network = MeanTeacher(make_unet(), decay=0.996)
    trainer = make_unimatch(network, [make_batch(size=32, strong=True)] * 2, threshold=0.5)
    modes = []
    network.teacher.encoder.register_forward_hook(lambda module, *_: modes.append(module.training))
    run(trainer)
    assert modes == [False, False]
    assert all(parameter.grad is None for parameter in network.teacher.parameters())
    assert all(torch.equal(*pair) for pair in zip(network.teacher.buffers(), network.student.buffers(), strict=True))


def test_without_unlabelled_images_the_supervised_loss_is_all():
    loss, terms = make_unimatch().loss(Batch(WEAK[:1], LABELS, (FIRST[:1], SECOND[:1])), 0.4)
    assert loss is terms["supervised"] and list(terms) == ["supervised"]
    assert loss.item() == pytest.approx(SUPERVISED, abs=1e-6)


def test_it_trains_with_another_encoder_and_four_classes():
    network = UNetWithTeacher(4, encoder="efficientnet-lite0", seed=0)
    batch = make_batch(num_classes=4, size=64, strong=True)
    (output,) = run(make_unimatch(network, [batch], threshold=0.0))
    assert output["strong_view_1"] > 0 and output["strong_view_2"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pseudo": "hard"}, "choose 'masked' or 'dice'"),
        ({"threshold": 95}, "threshold 95: give a number from 0 to 1"),
        ({"cutmix_probability": -1}, "cutmix_probability -1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_unimatch(**options)


def test_the_overlay_makes_two_different_strong_views_and_trains(tmp_path):
    write_phantom_dataset(tmp_path / "data", labelled=2, unlabelled=2, validation=1, test=1, image_size=32)
    files = ("train.yaml", "methods/unimatch_v2.yaml")
    parser = ConfigParser()
    parser.read_config([config_file(name) for name in files])
    parser.update({"dataset_dir": str(tmp_path / "data"), "image_size": 32, "labelled": "50%", "num_workers": 0})
    dataset = parser.get_parsed_content("train#unlabelled_dataset")
    dataset.transform.set_random_state(0)
    item = dataset[0]
    assert not any("strong" in key for key in parser.get_parsed_content("train#dataset")[0])  # of labelled ones: unused
    views = [item[key] for key in ("image", "strong_image", "strong_image_2")]
    assert all(not torch.equal(views[i], views[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert len({view.shape for view in views}) == 1
    options = {"segmentation_epochs": 1, "first_stage": "none", "train#method#pseudo": "dice"}
    folder = train(tmp_path / "data", tmp_path / "runs", files=files, **options)
    assert (folder / "model.pt").is_file()
