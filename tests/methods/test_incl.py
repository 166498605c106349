from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from custom.errors import InputError
from custom.methods import InherentConsistentLearning
from custom.methods.trainer import dice_and_cross_entropy
from custom.networks import UNetWithInherentConsistency
from custom.networks.inherent_consistency import InherentConsistencyOutputs
from tests.methods.conftest import WIDTHS, make_batch, make_trainer, run

SIZE = 4


class Answers(nn.Module):
    """Gives fixed logits and maps, each a parameter, so that gradients show what each loss reaches."""

    def __init__(self, num_classes, labelled, unlabelled, sides=(2, 4)):
        super().__init__()
        generator = torch.Generator().manual_seed(0)

        def parameter(rows, side):
            return nn.Parameter(2 * torch.randn(rows, num_classes, side, side, generator=generator))

        self.scores = parameter(labelled + unlabelled, SIZE)
        self.labelled_maps = nn.ParameterList(parameter(labelled, side) for side in sides)
        self.supervised_maps = nn.ParameterList(parameter(unlabelled, side) for side in sides if unlabelled)
        self.unsupervised_maps = nn.ParameterList(parameter(unlabelled, side) for side in sides if unlabelled)

    def logits_and_maps(self, images, labelled):
        maps = (self.labelled_maps, self.supervised_maps, self.unsupervised_maps)
        return InherentConsistencyOutputs(self.scores, *map(list, maps))


def answers_and_output(num_classes=2, labelled=1, unlabelled=2, **options):
    network, batch = Answers(num_classes, labelled, unlabelled), make_batch(labelled, unlabelled, num_classes, SIZE)
    (output,) = run(make_trainer(InherentConsistentLearning, network, [batch], learning_rate=0.0, **options))
    return network, batch["labelled"]["label"], output


def resized(logits):
    return interpolate(logits, size=(SIZE, SIZE), mode="bilinear")


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_labelled_maps_are_compared_with_the_labels_at_the_size_of_the_image(num_classes):
    network, labels, output = answers_and_output(num_classes)
    loss = dice_and_cross_entropy()
    expected = sum(loss(resized(each), labels) for each in network.labelled_maps) / 2
    assert output["supervised_maps"].item() == pytest.approx(expected.item())
    assert output["supervised"].item() == pytest.approx(loss(network.scores[:1], labels).item())


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_pseudo_label_is_the_soft_prediction_by_dice_without_squares(num_classes):
    network, _, output = answers_and_output(num_classes)
    q, expected = network.scores[1:].softmax(dim=1), 0.0
    for each in network.unsupervised_maps:
        p = resized(each).softmax(dim=1)
        for k in range(num_classes):
            overlap, sizes = (p[:, k] * q[:, k]).sum(), p[:, k].sum() + q[:, k].sum()
            expected += (1 - (2 * overlap + 1e-5) / (sizes + 1e-5)) / num_classes / 2
    assert output["pseudo"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_maps_of_both_modules_are_compared_as_probabilities_and_the_weights_are_half_the_released_ones():
    network, _, output = answers_and_output(3)
    pairs = zip(network.unsupervised_maps, network.supervised_maps, strict=True)
    expected = sum(((c.softmax(dim=1) - a.softmax(dim=1)) ** 2).mean() for c, a in pairs) / 2
    assert output["consistency"].item() == pytest.approx(expected.item())
    terms = {name: float(output[name]) for name in ("supervised", "supervised_maps", "pseudo", "consistency")}
    total = terms["supervised"] + terms["supervised_maps"] + 0.5 * terms["pseudo"] + 25 * terms["consistency"]
    assert output["loss"] == pytest.approx(total)


def test_predictions_of_unlabelled_images_and_the_supervised_maps_of_them_get_no_gradient():
    network, _, _ = answers_and_output()
    assert not network.scores.grad[1:].any() and network.scores.grad[0].any()
    assert all(each.grad is None for each in network.supervised_maps)
    assert all(each.grad.any() for each in [*network.labelled_maps, *network.unsupervised_maps])


def test_without_unlabelled_images_only_the_labels_teach():
    _, _, output = answers_and_output(unlabelled=0)
    assert set(output) == {"loss", "consistency_weight", "supervised", "supervised_maps"}
    assert output["loss"] == pytest.approx(float(output["supervised"] + output["supervised_maps"]))


def test_unlabelled_images_teach_the_unet_through_its_features_alone():
    network = UNetWithInherentConsistency(2, 32, widths=WIDTHS, seed=0)
    batch = make_batch(size=32)
    trainer = make_trainer(InherentConsistentLearning, network, [batch], loss_function=lambda x, _: 0 * x.sum())
    run(trainer)
    assert network.deployed.encoder.blocks[0].first.conv.weight.grad.any()
    assert not network.deployed.heads[0].weight.grad.any()


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "resnet18"])
def test_it_trains_with_another_encoder(encoder):
    network = UNetWithInherentConsistency(4, 64, encoder=encoder, decoder_widths=(8,) * 4, seed=0)
    (output,) = run(make_trainer(InherentConsistentLearning, network, [make_batch(1, 1, num_classes=4, size=64)]))
    assert output["consistency"] == 0  # all classes start from the same query
    assert output["supervised_maps"] > 0 and math.isfinite(output["loss"])


@pytest.mark.parametrize("name", ["pseudo_weight", "map_consistency_weight"])
def test_a_negative_weight_is_refused(name):
    with pytest.raises(InputError, match=f"{name} -1: give a number from 0"):
        answers_and_output(**{name: -1})
