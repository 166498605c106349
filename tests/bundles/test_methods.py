"""Every method overlay on the real workflow: it trains, resumes, evaluates, predicts and is tracked like SemiGDA."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

from custom.checkpoints import load_checkpoint
from custom.error_causes import find_input_error
from custom.handlers import StageCheckpoint
from custom.networks import UNet, load_model, save_model
from tests.bundles.conftest import OVERLAYS, config_file, make_workflow, train
from tests.bundles.test_inference import predict
from tests.bundles.test_resume import assert_equal
from tests.bundles.test_training import read_curves

METHODS = sorted(path.stem for path in (OVERLAYS / "methods").glob("*.yaml"))
LABELS_ONLY = {"supervised", "semigda_supervised"}
CLASSES = 4
WITH_STATES = [  # files of a teacher, further optimisers, or statistics of their own
    *("semigda_plus", "supervised", "distilled", "diffrect", "bs_net", "caussl_cps", "dhc", "magicnet", "scdl_cps"),
]
OWN_NETWORKS = [
    *("semigda_plus", "supervised", "distilled", "diffrect", "scdl_cps", "vclipseg", "skcdf", "cdma", "genericssl"),
]
SMALL = {
    "diffrect": {
        "network_def#denoiser_widths": [8, 8],
        "network_def#time_channels": 16,
    },
    "distilled": {"encoder": "none"},
    "magicnet": {"network_def#cells": 2, "network_def#location_width": 8},
    "ga_magicnet": {"network_def#cells": 2, "network_def#location_width": 8},
    "genericssl": {"network_def#sampling_steps": 2, "network_def#time_channels": 16},
    "semigda_plus": {"encoder": "none"},
}
IMAGENET = {"semigda_plus": {"encoder": "efficientnet-lite0"}}  # with four classes: once for each method is enough
ONE_CASE = {"test#report#best": 1, "test#report#median": 0, "test#report#worst": 0}


def files(method):
    return ("train.yaml", f"methods/{method}.yaml")


def save_teacher(folder, num_classes=2):
    """A `model.pt` of random weights, the same for each number of classes."""
    path = folder / f"teacher_of_{num_classes}.pt"
    if not path.is_file():
        save_model(UNet(num_classes, seed=0), path, {"image_size": 48})
    return str(path)


def train_method(method, dataset_dir, runs_dir, num_classes=2, **settings):
    if method == "distilled":
        settings = {"teacher": save_teacher(runs_dir, num_classes), **settings}
    return train(dataset_dir, runs_dir, files=files(method), **{**SMALL.get(method, {}), **ONE_CASE, **settings})


@contextmanager
def killed_after_epoch(epoch, copy):
    """Keep a copy of a run's folder as a process leaves it that dies once this epoch of stage 2 is saved."""
    write = StageCheckpoint._write

    def write_and_copy(self):
        write(self)
        if self.stage == "segmentation" and self.trainer.state.epoch == epoch:
            shutil.copytree(self.checkpoint_path.parents[1], copy)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageCheckpoint, "_write", write_and_copy)
        yield


@pytest.fixture(scope="session")
def phantom_of_classes(phantom, tmp_path_factory):
    """The phantom set with four classes: background, and the upper, middle and lower third of each lesion."""
    folder = tmp_path_factory.mktemp("classes") / "phantom"
    shutil.copytree(phantom, folder)
    for path in (folder / "masks").glob("*.png"):
        mask = np.asarray(Image.open(path)) > 0
        rows = np.arange(len(mask))[:, None]
        inside = rows[mask.any(axis=1)]
        thirds = np.clip(3 * (rows - inside.min()) // max(len(inside), 1), 0, 2) + 1
        Image.fromarray((mask * thirds).astype(np.uint8)).save(path)
    datalist = json.loads((folder / "datalist.json").read_text())
    datalist |= {"num_classes": CLASSES, "class_names": ["background", "upper", "middle", "lower"]}
    (folder / "datalist.json").write_text(json.dumps(datalist))
    return folder


@pytest.fixture(scope="session")
def finished(phantom, phantom_of_classes, tmp_path_factory):
    """Function (method, number of classes) -> folder of a tiny run, made once.

    Beside one of two classes is "killed", a copy of its folder as it was after epoch 2 of 3.
    """
    runs = {}

    def run(method, num_classes=2):
        if (method, num_classes) not in runs:
            folder = tmp_path_factory.mktemp(method)
            if num_classes == 2:
                with killed_after_epoch(2, folder / "killed"):
                    runs[method, num_classes] = train_method(method, phantom, folder)
            else:
                short = {"alignment_epochs": 1, "segmentation_epochs": 1, **IMAGENET.get(method, {})}
                runs[method, num_classes] = train_method(method, phantom_of_classes, folder, num_classes, **short)
        return runs[method, num_classes]

    return run


def test_all_methods_of_the_comparison_are_there():
    peers = {
        "bcp",
        "bs_net",
        "caussl_cps",
        "cdma",
        "cps",
        "csc_pa",
        "dhc",
        "diffrect",
        "dtc",
        "fixmatch",
        "ga_cps",
        "ga_magicnet",
        "genericssl",
        "ict",
        "incl",
        "magicnet",
        "mc_net",
        "mc_net_v2",
        "mcf",
        "pmt",
        "skcdf",
        "supervised",
        "ua_mt",
        "unco",
        "unimatch_v2",
        "urpc",
        "vclipseg",
    }
    ours = {
        "distilled",
        "scdl_cps",
        "scdl_dhc",
        "scdl_ga_cps",
        "scdl_mc_net",
        "scdl_supervised",
        "semigda_plus",
        "semigda_supervised",
    }
    assert set(METHODS) == peers | ours


@pytest.mark.parametrize("method", METHODS)
def test_a_method_leaves_model_evaluation_curves_and_pictures(method, finished):
    run = finished(method)
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    assert (summary["images"], summary["details"]["method"]) == (3, method)
    assert summary["details"]["unlabelled"] == (0 if method in LABELS_ONLY else 5)
    assert tuple(summary["branches"]) == load_model(run / "model.pt").branches
    curves = {row["name"] for row in read_curves(run) if row["stage"] == "segmentation"}
    assert {"loss", f"validation/dice/{next(iter(summary['branches']))}", "epoch_seconds", "peak_memory_mib"} <= curves
    assert (run / "panels" / "epoch_0003.png").stat().st_size > 1000


@pytest.mark.parametrize("method", WITH_STATES)  # the others resume in tests/methods, with the same checkpoint
def test_a_killed_method_resumes_to_identical_weights(method, finished, phantom):
    expected = finished(method)
    torch.manual_seed(99)  # whatever the new process would draw
    run = train_method(method, phantom, expected.parent, run_name="killed", resume=True)
    epochs = [row for row in read_curves(run) if (row["stage"], row["name"]) == ("segmentation", "epoch_seconds")]
    assert (run.name, len(epochs)) == ("killed", 3)
    for name in ("checkpoints/segmentation_checkpoint.pt", "checkpoints/segmentation_best.pt"):
        assert_equal(load_checkpoint(expected / name), load_checkpoint(run / name))
    assert_equal(load_checkpoint(expected / "model.pt")["model"], load_checkpoint(run / "model.pt")["model"])


@pytest.mark.parametrize("method", ["semigda_plus", "mc_net", "scdl_cps", "cdma"])  # one of each network that predicts
def test_evaluation_of_the_model_file_repeats_that_of_the_training(method, finished, phantom, tmp_path):
    run = finished(method)
    settings = {"dataset_dir": str(phantom), "checkpoint": str(run / "model.pt"), "num_workers": 0, "device": "cpu"}
    settings |= {key.removeprefix("test#"): value for key, value in ONE_CASE.items()}
    make_workflow("evaluate.yaml", runs_dir=str(tmp_path), run_name="again", **settings).run()
    first, again = (
        json.loads(file.read_text()) for file in (run / "evaluation" / "summary.json", tmp_path / "again/summary.json")
    )
    assert again["branches"] == first["branches"]


@pytest.mark.parametrize("method", METHODS)
def test_the_network_of_a_method_has_the_classes_of_the_data(method):
    network = ConfigParser.load_config_files([str(config_file(file)) for file in files(method)])["network_def"]
    assert network["num_classes"] == "$@facts.num_classes"


@pytest.mark.parametrize("method", OWN_NETWORKS)  # the steps of all methods meet four classes in tests/methods
def test_a_method_trains_and_predicts_with_four_classes(method, finished, tmp_path):
    run = finished(method, CLASSES)
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    assert summary["num_classes"] == CLASSES
    assert "dice_class_3" in next(iter(summary["branches"].values()))
    picture = tmp_path / "pictures" / "odd.png"
    picture.parent.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (45, 70, 3)).astype(np.uint8)
    Image.fromarray(noise).save(picture)
    out = predict(picture.parent, run / "model.pt", tmp_path)
    mask = np.asarray(Image.open(out / "masks" / "odd.png"))
    assert mask.shape == (45, 70)
    assert set(np.unique(mask)) <= set(range(CLASSES))
    with open(out / "predictions.csv") as file:
        assert len(list(csv.DictReader(file))) == 1


@pytest.mark.parametrize("method", [method for method in METHODS if not method.startswith("semigda")])
def test_a_model_file_holds_no_more_than_a_plain_network(method, finished):
    """Teachers, second networks and rectifiers stay behind; what takes part in the prediction does not."""
    network = load_model(finished(method) / "model.pt")
    plain = 1_816_744 if method == "cdma" else 1_813_762  # CDMA's prediction has attention
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if method.startswith(("scdl", "vclipseg", "skcdf")):  # priors, text vectors, attention
        assert plain < parameters < 2 * plain
    else:
        assert parameters == plain


def test_hard_classes_are_not_interpolated_on_the_way_back_to_the_images_size(finished, tmp_path, monkeypatch):
    """Between classes 0 and 3 an interpolated edge would paint classes 1 and 2."""
    from custom.networks import UNet

    def paint(self, images):
        return 3 * (images.mean(dim=1, keepdim=True) > 0.5).float()

    monkeypatch.setattr(UNet, "forward", paint)
    picture = tmp_path / "pictures" / "half.png"
    picture.parent.mkdir()
    half = np.zeros((90, 130), np.uint8)
    half[:, 37:] = 255
    Image.fromarray(half).save(picture)
    out = predict(picture.parent, finished("supervised", CLASSES) / "model.pt", tmp_path)
    assert set(np.unique(np.asarray(Image.open(out / "masks" / "half.png")))) == {0, 3}


def test_a_method_is_tracked_under_its_name(phantom, tmp_path):
    from mlflow import MlflowClient

    run = train(phantom, tmp_path, files=files("ua_mt"), mlflow=True, segmentation_epochs=1)
    client = MlflowClient(f"sqlite:///{run / 'mlruns.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "semigda_busi"]
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.data.params["method"] == "ua_mt"
    assert {"segmentation/consistency", "test/dice"} <= set(tracked.data.metrics)


def test_semigda_plus_is_a_plain_semigda_with_a_pretrained_encoder_and_a_smaller_first_stage(finished):
    network = load_model(finished("semigda_plus", CLASSES) / "model.pt")
    assert (type(network).__name__, network.architecture["encoder"]) == ("SemiGDA", "efficientnet-lite0")
    assert network.architecture["first_stage_scale"] == 0.5


@pytest.mark.parametrize("method", ["supervised", "fixmatch", "distilled"])
def test_a_method_of_one_u_net_trains_the_mask_branch_in_its_place(method, phantom_of_classes, tmp_path):
    settings = {"image_size": 64, "segmentation_epochs": 1, **ONE_CASE}
    if method == "distilled":
        settings["teacher"] = save_teacher(tmp_path, CLASSES)
    files = ("train.yaml", f"methods/{method}.yaml", "networks/mask_branch.yaml")
    run = train(phantom_of_classes, tmp_path, files=files, **settings)
    network = load_model(run / "model.pt")
    assert (type(network).__name__, network.num_classes) == ("MaskBranch", CLASSES)
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    assert list(summary["branches"]) == ["prediction"]
    assert summary["details"]["first_stage"] != "none"
    picture = tmp_path / "pictures" / "odd.png"
    picture.parent.mkdir()
    Image.fromarray(np.full((45, 70, 3), 90, np.uint8)).save(picture)
    mask = np.asarray(Image.open(predict(picture.parent, run / "model.pt", tmp_path) / "masks" / "odd.png"))
    assert mask.shape == (45, 70)


def test_masks_of_unlabelled_images_are_never_opened_by_a_method(phantom, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(phantom, folder)
    hidden = json.loads((folder / "datalist.json").read_text())["training"][2]["label"]
    (folder / hidden).write_bytes(b"not an image")
    for method in (
        "supervised",
        "ua_mt",
        "fixmatch",
        "diffrect",
        "scdl_supervised",
        "distilled",
    ):  # all ways to read a batch
        run = train_method(method, folder, tmp_path / "runs", labelled=2, segmentation_epochs=1)
        assert (run / "model.pt").is_file()
    with pytest.raises(RuntimeError) as error:
        train(folder, tmp_path / "runs", files=files("supervised"), labelled=3)
    assert hidden in str(find_input_error(error.value))


def test_a_method_starts_from_the_model_of_another_run(finished, phantom, tmp_path):
    start = finished("supervised") / "model.pt"
    settings = {"initial_weights": str(start), "learning_rate": 1e-30, "segmentation_epochs": 1}
    run = train(phantom, tmp_path, files=files("ua_mt"), **settings)
    expected, found = load_model(start).state_dict(), load_model(run / "model.pt").state_dict()
    assert all(torch.equal(expected[key], found[key]) for key in expected if "running" not in key and "num" not in key)


def test_a_stage_that_a_method_does_not_have_is_refused_in_one_line(phantom, tmp_path):
    with pytest.raises((ValueError, RuntimeError)) as error:
        train(phantom, tmp_path, run_id="alignment", files=files("cps"))
    assert "no stage 'alignment': its stages are segmentation" in str(find_input_error(error.value))


def test_a_model_of_another_method_is_refused_in_one_line(finished, trained, phantom, tmp_path):
    with pytest.raises((ValueError, RuntimeError)) as error:
        train(phantom, tmp_path, files=files("supervised"), initial_weights=str(trained / "model.pt"))
    message = str(find_input_error(error.value))
    assert "another architecture" in message
    assert "\n" not in message
