from __future__ import annotations

import json

import torch
from diffusers import AutoencoderKL

from custom.first_stage import load_first_stage
from tests.bundles.conftest import make_workflow, train

SMALL = {
    "widths": [8, 16],
    "image_size": 32,
    "epochs": 2,
    "val_interval": 1,
    "labelled_batch": 2,
    "unlabelled_batch": 2,
    "num_workers": 0,
    "mlflow": False,
    "device": "cpu",
}


def make_first_stage(phantom, runs_dir, **overrides):
    workflow = make_workflow(
        "train_autoencoder.yaml",
        run_id="training",
        dataset_dir=str(phantom),
        runs_dir=str(runs_dir),
        run_name="autoencoder",
        **{**SMALL, **overrides},
    )
    workflow.run()
    return runs_dir / "autoencoder" / "first_stage"


def test_a_trained_autoencoder_becomes_a_first_stage_that_training_accepts(phantom, tmp_path):
    folder = make_first_stage(phantom, tmp_path)
    autoencoder = AutoencoderKL.from_pretrained(folder)
    first_stage = load_first_stage(folder)
    assert first_stage.scaling_factor == autoencoder.config.scaling_factor != 0.18215
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    expected = autoencoder.float().eval().encode(images).latent_dist.mean * autoencoder.config.scaling_factor
    assert torch.allclose(first_stage.encode(images).mean, expected, atol=1e-5)
    run = train(phantom, tmp_path, first_stage=str(folder), alignment_epochs=1, segmentation_epochs=1)
    assert json.loads((run / "evaluation" / "summary.json").read_text())["details"]["first_stage"] == "first_stage"


def test_latents_of_the_training_scale_have_unit_variance(phantom, tmp_path):
    from custom.data import load_datalist
    from custom.transforms import LoadImageAndLabeld

    first_stage = load_first_stage(make_first_stage(phantom, tmp_path))
    items = load_datalist(phantom / "datalist.json", phantom)["validation"]
    images = torch.stack([LoadImageAndLabeld(["image", "label"])(item)["image"].as_tensor() for item in items])
    assert abs(first_stage.encode(2 * images - 1).mean.std().item() - 1) < 0.1
