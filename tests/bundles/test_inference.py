from __future__ import annotations

import csv
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from custom.error_causes import find_input_error
from custom.inferers import BranchInferer
from tests.bundles.conftest import make_workflow, train


class ThresholdInferer:
    """Paints what is brighter than half: a prediction whose place in the image is known."""

    def __call__(self, inputs, network):
        bright = (inputs.mean(dim=1, keepdim=True) > 0.5).float()
        return torch.cat([bright, bright, torch.zeros_like(bright)], dim=1)


def predict(source, model, runs_dir, **overrides):
    settings = {"dataset_dir": str(source), "checkpoint": str(model), "num_workers": 0, "device": "cpu"}
    workflow = make_workflow(
        "inference.yaml", workflow_type="infer", runs_dir=str(runs_dir), run_name="out", **{**settings, **overrides}
    )
    workflow.run()
    return runs_dir / "out"


@pytest.fixture
def pictures(tmp_path):
    """A bright rectangle in the upper left of images of several sizes and kinds."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size, mode in (
        ("a wide one.png", (60, 40), "RGB"),
        ("tall.jpg", (33, 77), "L"),
        ("x.bmp", (32, 32), "RGB"),
    ):
        picture = np.zeros((size[1], size[0]), np.uint8)
        picture[: size[1] // 2, : size[0] // 4] = 255
        Image.fromarray(picture).convert(mode).save(folder / name)
    Image.fromarray(np.full((20, 30, 4), 255, np.uint8)).save(folder / "transparent.tif")
    return folder


def test_masks_have_each_images_size_name_and_orientation(pictures, trained, tmp_path):
    out = predict(pictures, trained / "model.pt", tmp_path, inferer=ThresholdInferer())
    for name, size in (("a wide one", (60, 40)), ("tall", (33, 77)), ("x", (32, 32)), ("transparent", (30, 20))):
        mask = Image.open(out / "masks" / f"{name}.png")
        assert mask.size == size
        assert set(np.unique(mask)) <= {0, 255}
    for name, (width, height) in (("a wide one", (60, 40)), ("tall", (33, 77))):
        mask = np.asarray(Image.open(out / "masks" / f"{name}.png")) > 0
        truth = np.zeros((height, width), bool)
        truth[: height // 2, : width // 4] = True
        assert (mask == truth).mean() > 0.95
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.85


def test_every_image_has_a_row_with_its_size_and_disagreement(pictures, trained, tmp_path):
    out = predict(pictures, trained / "model.pt", tmp_path, inferer=ThresholdInferer())
    with open(out / "predictions.csv") as file:
        rows = {row["image"].rsplit("/", 1)[-1]: row for row in csv.DictReader(file)}
    assert (rows["a wide one.png"]["width"], rows["a wide one.png"]["height"]) == ("60", "40")
    assert float(rows["transparent.tif"]["disagreement"]) == pytest.approx(1)
    assert float(rows["transparent.tif"]["foreground_share"]) == 1


def test_maps_are_written_on_request_only(pictures, trained, tmp_path):
    image = pictures / "tall.jpg"
    out = predict(image, trained / "model.pt", tmp_path)
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "masks", "predictions.csv"]
    out = predict(image, trained / "model.pt", tmp_path / "maps", probability_maps="true", disagreement_maps="true")
    assert Image.open(out / "probability" / "tall.png").size == (33, 77)
    assert Image.open(out / "disagreement" / "tall.png").size == (33, 77)


def test_files_of_the_system_are_passed_over_and_odd_names_kept(trained, tmp_path):
    names = ["$HOME", "@image", "%train::x", "-rf", "50%", "#1", "a.b.c", "le\u0301sion", "line\nbreak", "x" * 250]
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in names:
        Image.new("L", (32, 32)).save(folder / f"{name}.png")
    for name in ("._scan.png", "Thumbs.db", ".DS_Store"):
        (folder / name).write_bytes(b"x" * 100)
    out = predict(folder, trained / "model.pt", tmp_path)
    assert {path.name for path in (out / "masks").iterdir()} == {f"{name}.png" for name in names}


def test_inference_needs_no_network_connection(pictures, trained, tmp_path, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("inference tried to open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert (predict(pictures, trained / "model.pt", tmp_path) / "masks" / "x.png").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checkpoint": "missing.pt"}, "no checkpoint at missing.pt"),
        ({"source": "nowhere"}, "no such file or folder"),
    ],
)
def test_errors_are_one_line(change, message, pictures, trained, tmp_path):
    with pytest.raises((ValueError, RuntimeError)) as error:
        predict(change.get("source", pictures), change.get("checkpoint", trained / "model.pt"), tmp_path)
    found = str(find_input_error(error.value))
    assert message in found
    assert "\n" not in found


@pytest.mark.parametrize("check_data", ["true", "false"])
def test_a_broken_image_is_one_line_with_the_default_workers(pictures, trained, tmp_path, check_data):
    content = (pictures / "tall.jpg").read_bytes()
    (pictures / "tall.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises((ValueError, RuntimeError)) as error:
        predict(pictures, trained / "model.pt", tmp_path, num_workers=2, check_data=check_data)
    found = str(find_input_error(error.value))
    assert found.startswith(f"{pictures / 'tall.jpg'} cannot be read as an image")
    assert "\n" not in found
    # With the check nothing is predicted; without it, all images before the broken one are in the table.
    assert (tmp_path / "out" / "predictions.csv").exists() == (check_data == "false")
    if check_data == "false":
        assert "a wide one.png" in (tmp_path / "out" / "predictions.csv").read_text()


def test_a_pipe_among_the_images_is_refused_at_once(pictures, trained, tmp_path):
    os.mkfifo(pictures / "pipe.png")
    with pytest.raises((ValueError, RuntimeError)) as error:
        predict(pictures, trained / "model.pt", tmp_path)
    assert "pipe.png" in str(find_input_error(error.value))


def test_the_models_bit_depth_scales_the_images(phantom, pictures, tmp_path):
    """A model of 12-bit images takes their values as `prepare` and training did, and refuses what goes beyond."""
    folder = tmp_path / "data"
    shutil.copytree(phantom, folder)
    for path in (folder / "images").iterdir():
        deep = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16
        deep[0, 0] = 4095
        Image.fromarray(deep).save(path)
    model = train(folder, tmp_path / "runs", "alignment", alignment_epochs=1) / "model.pt"
    assert torch.load(model)["details"]["bit_depth"] == 12
    workflow = make_workflow(
        "inference.yaml",
        workflow_type="infer",
        dataset_dir=str(folder / "images"),
        checkpoint=str(model),
        num_workers=0,
    )
    image = workflow.parser.get_parsed_content("dataset")[0]["image"]
    assert image.max() > 0.9
    Image.fromarray(np.full((8, 8), 5000, np.uint16)).save(pictures / "bright.png")
    with pytest.raises((ValueError, RuntimeError)) as error:
        predict(pictures, model, tmp_path)
    assert "more than the 12 bits" in str(find_input_error(error.value))


def test_a_trained_models_evaluation_repeats_the_one_of_its_training(phantom, trained, tmp_path):
    import json

    workflow = make_workflow(
        "evaluate.yaml",
        dataset_dir=str(phantom),
        checkpoint=str(trained / "model.pt"),
        num_workers=0,
        runs_dir=str(tmp_path),
        run_name="again",
        device="cpu",
    )
    workflow.run()
    again = json.loads((tmp_path / "again" / "summary.json").read_text())
    first = json.loads((trained / "evaluation" / "summary.json").read_text())
    assert again["branches"] == first["branches"]
    assert again["release"] == first["release"]


def test_a_large_image_of_a_fixed_scale_is_predicted_in_windows(trained, tmp_path):
    """Tiles of the size of the training's images, side by side, get the masks that they get alone."""
    content = torch.load(trained / "model.pt", weights_only=True)
    content["details"]["source_side"] = 32.0  # the phantom's side
    model = tmp_path / "model.pt"
    torch.save({key: value for key, value in content.items() if key != "checksum"}, model)
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(noise).save(tmp_path / "in" / "slide.png")
    seen = []

    class Noting(BranchInferer):
        def _predict(self, inputs, network, *args, **kwargs):
            seen.append(tuple(inputs.shape[2:]))
            return super()._predict(inputs, network, *args, **kwargs)

    inferer = Noting(window=content["details"]["image_size"])
    out = predict(tmp_path / "in", model, tmp_path / "windows", inferer=inferer, windows_above=64)
    assert len(seen) > 4 and set(seen) == {(32, 32)}
    mask = np.asarray(Image.open(out / "masks" / "slide.png"))
    assert mask.shape == (96, 128)
    seen.clear()
    predict(tmp_path / "in", model, tmp_path / "whole", inferer=inferer, windows_above=200)
    assert seen == [(32, 32)]
