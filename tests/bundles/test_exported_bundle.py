"""Exported bundles, unpacked elsewhere and used from / by processes that cannot import the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from custom.export import export_bundle
from custom.networks import load_model
from tests.bundles.conftest import CONFIGS, TINY

NAME = CONFIGS.parent.name
ONE_EPOCH = {"alignment_epochs": 1, "segmentation_epochs": 1}


def python(*arguments):
    """Run Python in isolated mode: no current folder, no PYTHONPATH, no user packages."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, "-I", *map(str, arguments)], cwd="/", env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def unpacked(trained, tmp_path_factory):
    """Function (name) -> the bundle of a new folder of that name, unpacked from one ZIP file."""
    folder = tmp_path_factory.mktemp("exported")
    archive = export_bundle(CONFIGS.parent, folder / "bundle.zip", checkpoint=trained / "model.pt")

    def unpack(name):
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder / name)
        return folder / name / NAME

    return unpack


@pytest.fixture(scope="module")
def seen(unpacked, phantom):
    """What a process saw that used two bundles, and tried a third one with another version of the code."""
    first, second, other = unpacked("first"), unpacked("second"), unpacked("other")
    version = other / "custom" / "version.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "9.'))
    settings = first.parent / "settings.json"
    settings.write_text(json.dumps({**TINY, **ONE_EPOCH, "dataset_dir": str(phantom)}))
    script = Path(__file__).with_name("use_exported_bundles.py")
    result = python(script, first, second, other, phantom / "images", settings)
    assert result.returncode == 0, result.stderr
    return {**json.loads(result.stdout.splitlines()[-1]), "first": first, "second": second, "other": other}


def test_the_process_cannot_import_the_repository(seen):
    assert not seen["importable before"]
    assert seen["folder"] == "/"


def test_monai_loads_the_trained_network_and_leaves_no_trace(seen, trained):
    assert seen["loaded"] == "SemiGDA"
    with torch.no_grad():
        expected = load_model(trained / "model.pt")(torch.full((1, 3, 32, 32), 0.5)).mean().item()
    assert seen["prediction"] == pytest.approx(expected, abs=1e-6)
    assert seen["prediction in its folder"] == seen["prediction"]
    assert seen["files after load"] == ["LICENSE", "configs", "custom", "docs", "first_stages", "models"]


def test_inference_writes_a_mask_for_each_image_into_the_bundle_it_belongs_to(seen, phantom):
    assert (seen["inference lacks"], seen["inference root"]) == ([], str(seen["first"]))
    masks = {path.stem for path in (seen["first"] / "runs" / "inference" / "masks").iterdir()}
    assert masks == {path.stem for path in (phantom / "images").iterdir()}


def test_a_training_without_data_has_a_network_of_two_classes(seen):
    assert seen["classes without data"] == 2


def test_a_bundle_whose_folder_was_not_given_is_refused_in_one_line_with_the_option_to_give(seen):
    assert seen["no root"].startswith("bundle_root .: no bundle there, seen from /;")
    assert "--bundle_root DIR" in seen["no root"]
    assert "\n" not in seen["no root"]


def test_a_second_bundle_trains_in_the_same_process_with_the_code_of_the_first(seen):
    assert (seen["training lacks"], seen["training root"]) == ([], str(seen["second"]))
    (run,) = (seen["second"] / "runs").iterdir()
    assert {"model.pt", "evaluation", "finished.json"} <= {path.name for path in run.iterdir()}
    assert seen["code"] == str(seen["first"] / "custom" / "__init__.py")


def test_a_bundle_with_another_version_of_the_code_is_refused_in_one_line(seen):
    assert f"{seen['other'] / 'custom'} has version 9." in seen["other version"]
    assert str(seen["first"] / "custom") in seen["other version"]
    assert "\n" not in seen["other version"]


def test_the_command_line_trains_with_a_first_stage_of_the_bundle_and_an_overlay(unpacked, tmp_path):
    bundle = unpacked("command")
    overlay = "custom/configs/methods/semigda_plus.yaml"
    configs = [str(bundle / name) for name in ("configs/train.yaml", overlay, "configs/quickstart.yaml")]
    small = {
        "phantom#labelled": 2, "phantom#unlabelled": 2, "phantom#validation": 1, "phantom#test": 1, "image_size": 32,
        "width": 8, "network_def#mapper_width": 8, "alignment_epochs": 1, "align#validation#interval": 1,
        "segmentation_epochs": 1, "val_interval": 1, "mlflow": "false", "device": "cpu",
        "bundle_root": bundle,
    }  # fmt: skip
    options = [text for key, value in small.items() for text in (f"--{key}", str(value))]
    result = python("-m", "monai.bundle", "run", "training", "--config_file", str(configs), *options)
    assert result.returncode == 0, result.stderr
    assert (bundle / "runs" / "quickstart_seed42" / "labels_only" / "model.pt").is_file()


def test_a_link_lets_the_bundle_of_the_repository_run_from_its_own_folder():
    link = CONFIGS.parent / "custom"
    assert os.readlink(link) == os.path.join("..", "..", "custom")
    shown = subprocess.run(["git", "ls-files", "-s", str(link)], cwd=link.parent, capture_output=True, text=True)
    assert shutil.which("git") is None or shown.returncode or shown.stdout.startswith("120000")
