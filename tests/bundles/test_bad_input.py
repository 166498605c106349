"""Errors of a user, seen from the command line: one line that names what is wrong, before anything trains."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from custom.error_causes import find_input_error
from tests.bundles.conftest import CONFIGS, train
from tests.copies import run_module


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset_dirr", "x"], "unknown option --dataset_dirr; did you mean 'dataset_dir'?"),
        (["--dataset_dir", "no/such/folder"], "no/such/folder"),
        (["--first_stage", "no-such/autoencoder", "--mlflow", "false"], "first_stage 'no-such/autoencoder'"),
    ],
)
def test_an_error_on_the_command_line_ends_with_one_line_and_no_traceback(options, message, phantom, tmp_path):
    options = ["--runs_dir", str(tmp_path), *options]
    if "--dataset_dir" not in options:
        options += ["--dataset_dir", str(phantom), "--labelled", "all"]
    command = ("monai.bundle", "run", "training", "--config_file", CONFIGS / "train.yaml")
    result = run_module(*command, *options, HF_HUB_OFFLINE="1")
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert result.stderr.splitlines()[-1] == errors[0]


def spoil(folder, change):
    """Make one error in a copy of a data folder."""
    datalist = json.loads((folder / "datalist.json").read_text())
    image, label = (folder / datalist["training"][0][key] for key in ("image", "label"))
    if change == "not JSON":
        (folder / "datalist.json").write_text("{")
        return
    if change == "missing key":
        del datalist["validation"]
    elif change == "outside":
        datalist["training"][0]["image"] = "../elsewhere.png"
    elif change == "missing file":
        image.unlink()
    elif change == "truncated":
        image.write_bytes(image.read_bytes()[:200])
    elif change == "not an image":
        label.write_text("hello")
    elif change == "sizes":
        Image.open(label).resize((16, 16)).save(label)
    elif change == "values":
        Image.open(label).point(lambda value: 7).save(label)
    elif change == "no label":
        datalist["training"] = [{"image": item["image"]} for item in datalist["training"]]
    elif change == "two splits":
        datalist["test"].append(datalist["training"][0])
    elif change == "copy":
        shutil.copy(image, folder / "copy.png")
        datalist["test"].append({"image": "copy.png"})
    elif change == "test without a label":
        del datalist["test"][0]["label"]
    elif change == "volume":
        datalist["training"].append("scan.nii.gz")
    elif change == "too many classes":
        datalist["num_classes"] = 257
    (folder / "datalist.json").write_text(json.dumps(datalist))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("not JSON", "datalist.json"),
        ("missing key", "validation"),
        ("outside", "elsewhere.png"),
        ("missing file", "0000.png"),
        ("truncated", "0000.png"),
        ("not an image", "0000.png"),
        ("sizes", "0000.png"),
        ("values", "0000.png"),
        ("no label", "label"),
        ("two splits", "0000.png"),
        ("copy", "copy.png"),
        ("test without a label", "without a label: add it"),
        ("volume", "scan.nii.gz"),
        ("too many classes", "num_classes"),
    ],
)
def test_an_error_in_the_data_is_named_before_training(change, names, phantom, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(phantom, folder)
    spoil(folder, change)
    with pytest.raises((ValueError, RuntimeError)) as error:
        train(folder, tmp_path / "runs", run_name="bad")
    message = str(find_input_error(error.value))
    assert names in message
    assert "\n" not in message
    assert not (tmp_path / "runs" / "bad" / "checkpoints").exists()


def test_the_check_can_be_skipped(phantom, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(phantom, folder)
    spoil(folder, "two splits")
    run = train(folder, tmp_path / "runs", "alignment", check_data="false", alignment_epochs=1)
    assert (run / "model.pt").is_file()


def test_a_folder_that_cannot_be_written_is_named(phantom, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises((ValueError, RuntimeError)) as error:
        train(phantom, tmp_path / "file")
    assert str(tmp_path / "file") in str(find_input_error(error.value))


def test_a_size_that_does_not_fit_is_refused_with_one_that_does(phantom, tmp_path):
    with pytest.raises((ValueError, RuntimeError)) as error:
        train(phantom, tmp_path, image_size=30)
    assert "multiples of 4" in str(find_input_error(error.value))
