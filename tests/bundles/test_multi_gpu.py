"""Two processes on the CPU, started by what a user starts them with."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, parse_args

from custom.checkpoints import load_checkpoint
from tests.bundles.conftest import CONFIGS, TINY, config_file
from tests.bundles.test_resume import assert_equal
from tests.bundles.test_training import read_curves
from tests.copies import become_module, run_copy

SETTINGS = {
    **TINY,
    "mlflow": True,
    "segmentation_labelled_batch": 1,
    "segmentation_unlabelled_batch": 1,
    "validate#panels#every": 3,
}
RUNS = ("whole", "interrupted", "interrupted_alignment")


def overlay(folder, dataset_dir):
    """The tiny settings with witnesses; further trainings continue from the copies that the first one leaves."""
    files = [str(config_file("train.yaml")), str(config_file("multi_gpu_train.yaml")), str(folder / "overlay.json")]
    places = {"dataset_dir": str(dataset_dir), "runs_dir": str(folder / "runs")}

    def noting(name):
        return {
            "_target_": "tests.bundles.witness.NotingDataset",
            "data": f"$@data['{name}']",
            "transform": "@train#preprocessing",
            "folder": "@output_dir",
            "name": name,
        }

    def witness(copy):
        return {
            "_target_": "tests.bundles.witness.Witness",
            "folder": "@output_dir",
            "copy": str(folder / "runs" / copy),
        }

    def resume(run_name, run_id):
        arguments = f"{files!r}, {run_id!r}, run_name={run_name!r}, bundle_root={str(CONFIGS.parent)!r}"
        return f"$tests.bundles.witness.resume({arguments})"

    content = {
        **SETTINGS,
        **places,
        "+imports": ["$import tests", "$import tests.bundles.witness"],
        "run_name": "whole",
        "train#dataset": noting("labelled"),
        "train#unlabelled_dataset": noting("unlabelled"),
        "+align#handlers": [witness("interrupted_alignment")],
        "+train#handlers": [witness("interrupted")],
        "training": [
            "@start",
            "$@session.run()",
            resume("interrupted", "training"),
            resume("interrupted_alignment", "alignment"),
        ],
    }
    (folder / "overlay.json").write_text(json.dumps(content))
    return str(files)


def torchrun(*words):
    """What `torchrun --standalone --nproc_per_node=2 -m WORDS` does, in copies of this process instead of new ones."""
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]  # what --standalone stands for
    config, _, _ = config_from_args(parse_args([*meeting, "--nproc_per_node=2", "-m", *words]))
    config.start_method = "fork"
    elastic_launch(config, become_module)(*words)


@pytest.fixture
def runs(phantom, tmp_path):
    """Folder of a run of two processes, "whole", and of two that were stopped after an epoch and resumed.

    "interrupted" was stopped in stage 2. "interrupted_alignment" was in stage 1, and it does not continue beyond it.
    """
    command = ("monai.bundle", "run", "training", "--config_file", overlay(tmp_path, phantom))
    process = run_copy(lambda: torchrun(*command), OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    (tmp_path / "stdout.txt").write_text(process.stdout)
    (tmp_path / "stderr.txt").write_text(process.stderr)
    assert process.returncode == 0, process.stderr[-4000:]
    return tmp_path / "runs"


def test_two_processes_train_one_network_and_resume(runs):
    """One test for all, since the trainings are dear and each pytest process would repeat them."""
    for run in RUNS:
        check_that_both_processes_end_with_the_same_weights(runs / run)
        check_that_one_mlflow_run_states_the_global_batch(runs / run)
    for kind in ("labelled", "unlabelled"):
        check_that_each_process_sees_its_own_share(runs / "whole", kind)
    check_that_a_resumed_run_goes_on_with_the_next_images(runs / "interrupted", runs / "whole", images=10)
    check_that_a_resumed_run_goes_on_with_the_next_images(runs / "interrupted_alignment", runs / "whole", images=4)
    check_that_a_resumed_stage_equals_the_uninterrupted_one("segmentation", runs / "interrupted", runs / "whole")
    check_that_a_resumed_stage_equals_the_uninterrupted_one("alignment", runs / "interrupted_alignment", runs / "whole")
    check_that_the_resumed_run_ends_as_the_uninterrupted_one(runs / "interrupted", runs / "whole")
    check_that_one_process_writes_and_prints_for_all(runs)


def check_that_both_processes_end_with_the_same_weights(run):
    first, second = (torch.load(run / f"weights_{rank}.pt", weights_only=True) for rank in range(2))
    assert_equal(first, second)


def check_that_one_mlflow_run_states_the_global_batch(run):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{run / 'mlruns.db'}")
    (tracked,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.params["processes"] == "2"
    assert tracked.data.params["alignment_global_batch"] == "2 x (2 labelled + 2 unlabelled) = 8 images"
    assert tracked.data.params["segmentation_global_batch"] == "2 x (1 labelled + 1 unlabelled) = 4 images"


def check_that_each_process_sees_its_own_share(run, kind):
    first, second = ((run / f"seen_{kind}_{rank}.txt").read_text().split() for rank in range(2))
    assert len(first) == len(second) == 10  # 2 epochs of alignment and 3 of segmentation, 2 images each
    for start in range(0, 10, 2):
        assert len(set(first[start : start + 2] + second[start : start + 2])) == 4


def check_that_a_resumed_run_goes_on_with_the_next_images(resumed, whole, images):
    """Starting again would end with the same weights too, but the images after those in the copy would be the first."""
    found, expected = ((run / "seen_labelled_0.txt").read_text().split() for run in (resumed, whole))
    assert found == expected[:images]


def check_that_a_resumed_stage_equals_the_uninterrupted_one(stage, resumed, whole):
    for name in (f"{stage}_checkpoint.pt", f"{stage}_best.pt"):
        assert_equal(load_checkpoint(whole / "checkpoints" / name), load_checkpoint(resumed / "checkpoints" / name))


def check_that_the_resumed_run_ends_as_the_uninterrupted_one(resumed, whole):
    assert_equal(*(load_checkpoint(run / "model.pt")["model"] for run in (whole, resumed)))
    table, resumed_table = ((run / "evaluation" / "per_image.csv").read_text() for run in (whole, resumed))
    assert table == resumed_table
    assert len(table.splitlines()) == 1 + 3  # each test image once


def check_that_one_process_writes_and_prints_for_all(runs):
    assert {folder.name for folder in runs.iterdir()} == set(RUNS)
    rows = Counter((row["stage"], row["step"], row["name"]) for row in read_curves(runs / "whole"))
    assert set(rows.values()) == {1}
    assert (runs.parent / "stdout.txt").read_text().count("test images: 3") == len(RUNS)  # one for each
    assert (runs.parent / "stderr.txt").read_text().count("segmentation: epoch 3/3, iteration 6/6") == 2
    assert len(list((runs / "whole" / "panels").iterdir())) == 1
