"""MC-Net v2 is MC-Net with the values of its overlay: three decoders, and the Dice loss as it is."""

from __future__ import annotations

import math

import pytest
from monai.bundle import ConfigParser

from custom.methods import MutualConsistency
from custom.methods.trainer import dice_and_cross_entropy
from custom.networks import UNet
from tests.bundles.conftest import OVERLAYS
from tests.methods.conftest import make_batch, make_trainer, make_unet, run
from tests.methods.test_mc_net import half_dice_by_hand

OVERLAY = ConfigParser.load_config_file(str(OVERLAYS / "methods" / "mc_net_v2.yaml"))
UPSAMPLING = OVERLAY["network_def"]["upsampling"]
WEIGHTS = {name: value for name, value in OVERLAY["train#trainer#loss_function"].items() if name != "_target_"}


def test_there_are_three_decoders_and_the_bilinear_one_predicts():
    network = make_unet(upsampling=UPSAMPLING)
    assert UPSAMPLING == ["bilinear", "transposed", "nearest"]
    assert network.inference_network().architecture["upsampling"] == ["bilinear"]


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_loss_is_the_sum_of_whole_dice_losses_and_of_six_ordered_pairs(num_classes):
    network, batch = make_unet(num_classes, dropout=False, upsampling=UPSAMPLING), make_batch(num_classes=num_classes)
    probabilities = []
    for head, odds in zip(network.heads, (1.0, 1.5, 2.0), strict=True):
        head.weight.data.zero_()
        head.bias.data.zero_()
        head.bias.data[1] = math.log(odds)  # the same in every pixel
        probabilities.append(head.bias.detach().softmax(dim=0))
    (output,) = run(make_trainer(MutualConsistency, network, [batch], loss_function=dice_and_cross_entropy(**WEIGHTS)))
    sharp = [p**10 / (p**10 + (1 - p) ** 10) for p in probabilities]
    pairs = (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)
    expected = sum(((probabilities[i] - sharp[j]) ** 2).mean().item() for i, j in pairs)
    assert output["consistency"].item() == pytest.approx(expected, rel=1e-4)
    labels = batch["labelled"]["label"]
    logits = [p.log()[None, :, None, None].expand(2, -1, *labels.shape[-2:]) for p in probabilities]
    dice = sum(2 * half_dice_by_hand(each, labels).item() for each in logits)
    assert output["supervised"].item() == pytest.approx(dice, rel=1e-5)


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "resnet18"])
def test_it_trains_with_another_encoder(encoder):
    network = UNet(4, encoder=encoder, upsampling=UPSAMPLING, seed=0)
    (output,) = run(make_trainer(MutualConsistency, network, [make_batch(1, 1, num_classes=4, size=64)]))
    assert output["consistency"] > 0
