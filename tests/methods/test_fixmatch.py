from __future__ import annotations

import math

import pytest
import torch
from monai.bundle import ConfigParser
from torch import nn

from custom.errors import InputError
from custom.losses import complementary_loss
from custom.methods import FixMatch
from custom.methods.trainer import Batch
from tests.bundles.conftest import config_file, train, write_phantom_dataset
from tests.methods.conftest import learn, make_trainer, make_unet


class PixelNetwork(nn.Module):
    """The colours themselves are the logits, times a weight that can learn."""

    def __init__(self, num_classes=2):
        super().__init__()
        self.num_classes = num_classes
        self.scale = nn.Parameter(torch.ones(1))

    def logits(self, images):
        return self.scale * images[:, : self.num_classes]


def make_fixmatch(network=None, data=None, **options):
    return make_trainer(FixMatch, network or PixelNetwork(), data or [{}], **options)


def pixels(*colours):
    """Images [B, 3, 1, W] whose logits have the softmax colours[b][pixel] with two classes."""
    images = torch.tensor(colours).permute(0, 2, 1)[:, :, None].log()
    return torch.cat([images, torch.zeros_like(images[:, :1])], dim=1)


def supervised_by_hand(probabilities, labels, num_classes=2):
    """Cross-entropy and Dice loss of probabilities [B, K, H, W] for indices [B, 1, H, W]."""
    truth = torch.stack([(labels[:, 0] == k).float() for k in range(num_classes)], dim=1)
    cross_entropy = -(truth * probabilities.log()).sum(dim=1).mean()
    overlap = (truth * probabilities).sum(dim=(0, 2, 3))
    size = (truth**2).sum(dim=(0, 2, 3)) + (probabilities**2).sum(dim=(0, 2, 3))
    return cross_entropy, (1 - (2 * overlap + 1e-5) / (size + 1e-5)).mean()


WEAK = pixels([(0.3, 0.7), (0.6, 0.4)], [(0.02, 0.98), (0.1, 0.9)])
"""A labelled image and an unlabelled one, whose first pixel is certain of class 1, and whose second is less so."""
STRONG = pixels([(0.5, 0.5), (0.5, 0.5)], [(0.75, 0.25), (0.5, 0.5)])
LABELS = torch.tensor([[[[1.0, 0.0]]]])


def test_masked_counts_the_certain_pixels_and_divides_by_all():
    loss, terms = make_fixmatch().loss(Batch(WEAK, LABELS, (STRONG,)), 0.4)
    cross_entropy, dice = supervised_by_hand(WEAK[:1, :2].exp(), LABELS)
    consistency = (-math.log(0.25) + 0) / 2
    assert terms["supervised"].item() == pytest.approx((cross_entropy + dice).item() / 2, abs=1e-5)
    assert terms["consistency"].item() == pytest.approx(consistency, abs=1e-5)
    assert terms["certain_share"].item() == 0.5
    assert loss.item() == pytest.approx((cross_entropy + dice).item() / 2 + 0.4 * consistency, abs=1e-5)


def test_the_threshold_decides_which_pixels_count():
    _, terms = make_fixmatch(threshold=0.85).loss(Batch(WEAK, LABELS, (STRONG,)), 0.4)
    assert terms["consistency"].item() == pytest.approx((-math.log(0.25) - math.log(0.5)) / 2, abs=1e-5)


def test_ssl4mis_adds_the_dice_loss_and_the_complementary_loss_and_halves_nothing():
    # Normalised confidences: 1 - 0.02/0.98 = 0.98 and 1 - 1/9 = 0.89, so both unlabelled pixels are of class 1.
    loss, terms = make_fixmatch(pseudo="ssl4mis").loss(Batch(WEAK, LABELS, (STRONG,)), 0.4)
    supervised = sum(supervised_by_hand(WEAK[:1, :2].exp(), LABELS))
    positive = sum(supervised_by_hand(STRONG[1:, :2].exp(), torch.ones(1, 1, 1, 2)))
    complementary, factor = complementary_loss(STRONG[:, :2], WEAK[:, :2])
    assert terms["supervised"].item() == pytest.approx(supervised.item(), abs=1e-5)
    assert terms["consistency"].item() == pytest.approx((positive + factor * complementary).item(), abs=1e-5)
    assert loss.item() == pytest.approx((supervised + 0.4 * (positive + factor * complementary)).item(), abs=1e-5)


def test_ssl4mis_takes_uncertain_pixels_as_background():
    weak = pixels([(0.3, 0.7), (0.6, 0.4)], [(0.02, 0.98), (0.2, 0.8)])  # 1 - 0.2/0.8 = 0.75 is not above 0.8
    _, terms = make_fixmatch(pseudo="ssl4mis").loss(Batch(weak, LABELS, (STRONG,)), 0.4)
    positive = sum(supervised_by_hand(STRONG[1:, :2].exp(), torch.tensor([[[[1.0, 0.0]]]])))
    complementary, factor = complementary_loss(STRONG[:, :2], weak[:, :2])
    assert terms["consistency"].item() == pytest.approx((positive + factor * complementary).item(), abs=1e-5)


@pytest.mark.parametrize("pseudo", ["masked", "ssl4mis"])
def test_the_weak_view_of_unlabelled_images_gets_no_gradient(pseudo):
    weak, strong = WEAK.clone().requires_grad_(), STRONG.clone().requires_grad_()
    loss, _ = make_fixmatch(pseudo=pseudo).loss(Batch(weak, LABELS, (strong,)), 1.0)
    loss.backward()
    assert weak.grad[0].abs().sum() > 0
    assert weak.grad[1].abs().sum() == 0
    assert strong.grad[1].abs().sum() > 0


@pytest.mark.parametrize("pseudo", ["masked", "ssl4mis"])
def test_without_unlabelled_images_the_supervised_loss_is_all(pseudo):
    batch = Batch(WEAK[:1], LABELS, (STRONG[:1],))
    loss, terms = make_fixmatch(pseudo=pseudo).loss(batch, 0.4)
    assert loss is terms["supervised"] and list(terms) == ["supervised"]


@pytest.mark.parametrize(
    "options, message", [({"pseudo": "hard"}, "choose 'masked' or 'ssl4mis'"), ({"threshold": 95}, "from 0 to 1")]
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_fixmatch(**options)


def test_batches_without_strong_images_are_refused():
    image = torch.rand(1, 3, 4, 4)
    batch = {"labelled": {"image": image, "label": torch.zeros(1, 1, 4, 4)}, "unlabelled": {"image": image}}
    with pytest.raises(InputError, match=r"FixMatch needs 1 strong views of each image \('strong_image'\)"):
        make_fixmatch(data=[batch]).run()


@pytest.mark.learning
@pytest.mark.parametrize("pseudo", ["masked", "ssl4mis"])
def test_it_learns_to_find_discs(pseudo):
    learnt = learn(FixMatch, make_unet(), strong=True, pseudo=pseudo)
    assert learnt.last_loss < learnt.first_loss / 2
    assert learnt.dice > 0.8
    assert learnt.outputs[-1]["consistency"] > 0


def test_the_overlay_makes_a_strong_view_of_the_same_geometry_that_is_no_alias(tmp_path):
    write_phantom_dataset(tmp_path, labelled=2, unlabelled=1, validation=1, test=1, image_size=32)
    parser = ConfigParser()
    parser.read_config([config_file("train.yaml"), config_file("methods/fixmatch.yaml")])
    parser.update({"dataset_dir": str(tmp_path), "image_size": 32, "labelled": "all", "num_workers": 0})
    transform = parser.get_parsed_content("train#preprocessing").set_random_state(0)
    item = transform(parser.get_parsed_content("data")["labelled"][0])
    assert item["strong_image"].shape == item["image"].shape
    assert (item["strong_image"] - item["image"]).abs().mean() > 0.02
    # The same picture: where the weak view is brightest, the strong one is brighter than elsewhere.
    weak, strong = (item[key].mean(dim=0).flatten() for key in ("image", "strong_image"))
    assert torch.corrcoef(torch.stack([weak, strong]))[0, 1] > 0.7


def test_the_overlay_trains(tmp_path):
    write_phantom_dataset(tmp_path / "data", labelled=2, unlabelled=2, validation=1, test=1, image_size=32)
    options = {"segmentation_epochs": 1, "first_stage": "none"}
    files = ("train.yaml", "methods/fixmatch.yaml")
    folder = train(tmp_path / "data", tmp_path / "runs", files=files, **{"train#method#pseudo": "ssl4mis"}, **options)
    assert (folder / "model.pt").is_file()
