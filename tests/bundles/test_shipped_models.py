"""The models that bundles come with: small, usable at once, and still the ones that were measured."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice
from PIL import Image

from custom.networks import load_model, model_details
from custom.phantoms.colonoscopy import draw_colonoscopy_phantom
from custom.phantoms.dermoscopy import draw_dermoscopy_phantom
from custom.phantoms.ultrasound import draw_ultrasound_phantom
from tests.bundles.conftest import ROOT
from tests.copies import run_module

SHIPPED = {  # what draws images for it, and its mean Dice on them
    "semigda_busi": (draw_ultrasound_phantom, 0.778),
    "semigda_polyp": (draw_colonoscopy_phantom, 0.818),
    "semigda_isic": (draw_dermoscopy_phantom, 0.461),
}
TRAINED = {  # method, network, labelled and unlabelled images; the first stage of the polyps' network saw all images
    "semigda_busi": ("distilled", "MaskBranch", 52, 413),
    "semigda_polyp": ("supervised", "MaskBranch", 145, 0),
    "semigda_isic": ("distilled", "UNet", 207, 1660),
}
MOST_BYTES = 15_000_000
IMAGES = 6


def phantoms(draw):
    """Images [N, 3, 224, 224] in [0, 1] and masks [N, 1, 224, 224], the same on every machine up to rounding."""
    pairs = [draw(224, np.random.default_rng(seed)) for seed in range(IMAGES)]
    images = [np.asarray(Image.fromarray(picture).convert("RGB")) for picture, _ in pairs]
    masks = [mask > 0 for _, mask in pairs]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255, torch.from_numpy(np.stack(masks))[:, None]


@pytest.mark.parametrize("bundle", SHIPPED)
def test_a_shipped_model_is_small_and_says_how_it_was_trained(bundle):
    path = ROOT / "bundles" / bundle / "models" / "model.pt"
    assert path.stat().st_size < MOST_BYTES
    details = model_details(path)
    network = load_model(path)
    described = (details["method"], type(network).__name__, details["labelled"], details["unlabelled"])
    assert described == TRAINED[bundle]
    assert (details["preset"], details["encoder"]) == ("practical", "efficientnet-lite0")
    assert network.num_classes == 2
    assert sum(parameter.numel() for parameter in network.parameters()) < 6e6
    assert all(tensor.dtype != torch.float16 for tensor in network.state_dict().values())


@pytest.mark.parametrize("bundle", SHIPPED)
def test_a_shipped_model_has_its_stated_dice_on_phantoms(bundle):
    """Phantoms are no patients: the figure says that this is the same model, not how good it is."""
    draw, expected = SHIPPED[bundle]
    images, masks = phantoms(draw)
    network = load_model(ROOT / "bundles" / bundle / "models" / "model.pt")
    with torch.no_grad():
        predicted = network(images) > 0.5
    assert compute_dice(predicted.float(), masks.float()).mean().item() == pytest.approx(expected, abs=0.02)


def run_for_real(*words):
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("bundle", "start"), zip(SHIPPED, (run_for_real, run_module, run_module), strict=True), ids=SHIPPED
)
def test_one_line_segments_an_image_of_the_reader(bundle, start, tmp_path):
    images, _ = phantoms(SHIPPED[bundle][0])
    picture = Image.fromarray((255 * images[0]).byte().permute(1, 2, 0).numpy()).resize((300, 200))
    (tmp_path / "images").mkdir()
    picture.save(tmp_path / "images" / "mine.png")
    command = ("monai.bundle", "run", "--config_file", f"bundles/{bundle}/configs/inference.yaml")
    options = ("--dataset_dir", str(tmp_path / "images"), "--output_dir", str(tmp_path / "out"), "--num_workers", "0")
    process = start(*command, *options)
    assert process.returncode == 0, process.stderr[-2000:]
    with Image.open(tmp_path / "out" / "masks" / "mine.png") as mask:
        assert mask.size == (300, 200)
        assert set(np.unique(np.asarray(mask))) <= {0, 255}
