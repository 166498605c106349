from __future__ import annotations

import json
import os

import pytest

from custom.errors import InputError
from custom.runs.resumed_options import check_resumed_options
from tests.conftest import in_one_line

OPTIONS = {
    "imports": ["$import os"],
    "dataset_dir": "data",
    "seed": 1,
    "amp": False,
    "device": "cpu",
    "preset": "paper",
    "segmentation_epochs": 3,
    "alignment_epochs": 2,
    "labelled": "10%",
    "learning_rate": 0.1,
    "train": {"trainer": {"_target_": "Trainer", "max_epochs": "@segmentation_epochs", "steps": [1, 2]}},
    "training": ["$@session.run()"],
}


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "run" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps(OPTIONS))
    return path


def nested(**trainer):
    return {"train": {"trainer": OPTIONS["train"]["trainer"] | trainer}}


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"seed": 2}, "seed 1, now 2"),
        ({"amp": True}, "amp False, now True"),
        ({"amp": None}, "amp False, now None"),
        ({"seed": [1]}, None),
        ({"segmentation_epochs": 2}, "segmentation_epochs 3, now 2"),
        ({"segmentation_epochs": "many"}, "segmentation_epochs 3, now many"),
        ({"alignment_epochs": 9}, "alignment_epochs 2, now 9"),
        ({"labelled": "$'20%'"}, "labelled 10%, now $'20%'"),
        (nested(steps=[1, 3]), "train#trainer#steps#1 2, now 3"),
        (nested(_target_="Other"), "train#trainer#_target_ Trainer, now Other"),
        ({"dataset_dir": "elsewhere", "seed": 7}, "dataset_dir data, now elsewhere; seed 1, now 7"),
    ],
    ids=str,
)
def test_other_options_are_reported_with_both_values(stored, other, told):
    if told is None:
        check_resumed_options(stored, OPTIONS | other)
        return
    with pytest.raises(InputError) as error:
        check_resumed_options(stored, OPTIONS | other)
    assert in_one_line(error) == (
        f"cannot resume {stored.parent}: it was started with {told}. "
        "Give the run's own options, or leave --resume out to start another run"
    )


def test_many_differences_are_counted(stored):
    other = {"dataset_dir": "x", "seed": 2, "amp": True, "preset": "y", "labelled": "z", "learning_rate": 1}
    with pytest.raises(InputError, match="preset paper, now y and 2 more. Give"):
        check_resumed_options(stored, OPTIONS | other)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"resume": True, "new_option": 3},
        {"device": "cuda", "num_workers": 4, "mlflow": False, "check_data": False, "panel_interval": 9},
        {"segmentation_epochs": 30},
        {"amp": "false"},
        {"learning_rate": 0.10, "seed": 1.0},
        {"training": ["$@session.run(['segmentation'])"], "imports": ["$import os", "$import sys"]},
        nested(max_epochs="$2 * @segmentation_epochs"),
    ],
    ids=str,
)
def test_what_may_differ_passes(stored, other):
    check_resumed_options(stored, OPTIONS | other)


def test_paths_of_one_file_are_equal(stored, tmp_path):
    (tmp_path / "data").mkdir()
    stored.write_text(json.dumps({"dataset_dir": str(tmp_path / "data")}))
    for path in (os.path.relpath(tmp_path / "data"), f"{tmp_path}/data/", f"{tmp_path}/run/../data"):
        check_resumed_options(stored, {"dataset_dir": path})


@pytest.mark.parametrize("content", [None, "{", "[]", '"text"'])
def test_nothing_is_compared_without_a_configuration(content, stored):
    stored.unlink()
    if content is not None:
        stored.write_text(content)
    check_resumed_options(stored, OPTIONS)
