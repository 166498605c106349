from __future__ import annotations

import pytest
import torch

from custom.networks import DistanceUNet, UNet
from tests.methods.conftest import WIDTHS


@pytest.mark.parametrize("encoder", ["none", "efficientnet-lite0", "resnet18"])
def test_distances_of_every_foreground_class_have_the_size_of_the_image_whatever_the_encoder(encoder):
    unet = UNet(4, widths=WIDTHS, encoder=encoder, encoder_weights=None, seed=0)
    network = DistanceUNet(unet).eval()
    images = torch.rand(2, 3, 47, 61)
    logits, distances = network.logits_and_distances(images)
    assert torch.equal(logits, unet.logits(images))
    assert distances.shape == (2, 3, 47, 61)
    assert -1 < distances.min() < distances.max() < 1


def test_distances_are_in_single_precision_under_autocast():
    network = DistanceUNet(UNet(widths=WIDTHS, seed=0)).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        logits, distances = network.logits_and_distances(images)
    assert (logits.dtype, distances.dtype) == (torch.bfloat16, torch.float32)
    assert not torch.equal(distances, distances.bfloat16().float())


def test_for_inference_the_plain_unet_remains():
    network = DistanceUNet(UNet(widths=WIDTHS, seed=0))
    assert network.inference_network() is network.deployed
    assert sum(parameter.numel() for parameter in network.distance_head.parameters()) == WIDTHS[0] * 9 + 1
