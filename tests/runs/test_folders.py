from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from custom.errors import InputError
from custom.runs import folders as run_folders
from custom.runs.folders import run_folder, start


@pytest.fixture
def runs(tmp_path):
    """Make folders of runs, and the folder which holds them."""

    def make(*names):
        for name in names:
            (tmp_path / "runs" / name).mkdir(parents=True)
        return tmp_path / "runs"

    return make


@pytest.mark.parametrize(
    ("taken", "name"),
    [
        ([], "busi"),
        (["busi"], "busi-2"),
        (["busi", "busi-2"], "busi-3"),
        (["busi", "busi-9", "busi-10"], "busi-11"),
        (["busi_seed1", "busi2", "busi-x", "my_busi"], "busi"),
    ],
    ids=["none", "one", "two", "gap", "others"],
)
def test_a_new_run_takes_the_next_free_number(runs, taken, name):
    folder = runs(*taken)
    assert run_folder(folder, "busi") == str(folder / name)


def test_characters_of_a_name_are_taken_literally(runs):
    folder = runs("10%.5+x", "10%a5xx")
    assert run_folder(folder, "10%.5+x") == str(folder / "10%.5+x-2")


def test_commands_that_start_in_the_same_instant_get_different_folders(tmp_path):
    barrier = threading.Barrier(8)

    def choose():
        barrier.wait()
        return run_folder(tmp_path / "runs", "busi")

    with ThreadPoolExecutor(8) as pool:
        chosen = [future.result() for future in [pool.submit(choose) for _ in range(8)]]
    assert sorted(chosen) == sorted(str(path) for path in (tmp_path / "runs").iterdir())
    assert len(set(chosen)) == 8


def test_a_folder_that_appears_after_the_look_around_is_not_taken(tmp_path):
    (tmp_path / "busi-2").mkdir()
    assert run_folders._make_folder(tmp_path, "busi", 2) == tmp_path / "busi-3"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(InputError, match="cannot be made .*; give --runs_dir or --run_name"):
        run_folder(tmp_path / "runs", "busi")


def test_a_command_that_ends_without_work_takes_its_folder_away(tmp_path):
    refused = run_folder(tmp_path, "busi")
    started = run_folder(tmp_path, "busi")
    start(started)
    kept, at_work = run_folder(tmp_path, "busi"), run_folder(tmp_path, "busi")
    run_folders.keep(kept)
    (Path(at_work) / "metrics.csv").touch()
    run_folders._remove_unused()
    assert not Path(refused).exists()
    assert not Path(started).exists()
    assert Path(kept).is_dir()
    assert (Path(at_work) / "metrics.csv").is_file()


def test_start_refuses_a_folder_in_which_another_process_works(tmp_path):
    script = f"from custom.runs.lock import lock_folder; lock_folder({str(tmp_path)!r}); print(1, flush=True); input()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"1\n"
        with pytest.raises(InputError, match="is in use: another process works in it"):
            start(tmp_path)
        other.kill()
    assert not (tmp_path / "config.json").exists()


def test_start_removes_what_a_killed_run_left(tmp_path):
    (tmp_path / ".config.json.part").touch()
    start(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "config.json"]


@pytest.mark.parametrize(
    ("taken", "name"), [(["busi"], "busi"), (["busi", "busi-2"], "busi-2"), (["busi", "busi-9", "busi-10"], "busi-10")]
)
def test_resuming_takes_the_newest_run(runs, taken, name):
    folder = runs(*taken, "busi_other")
    assert run_folder(folder, "busi", resume=True) == str(folder / name)


@pytest.mark.parametrize("taken", [[], ["busi_other"]])
def test_resuming_without_a_run_names_the_folder(runs, taken):
    with pytest.raises(InputError, match=r"resume: no run named 'busi' in .*runs; leave --resume out"):
        run_folder(runs(*taken), "busi", resume=True)


@pytest.fixture(autouse=True)
def restored_hook(monkeypatch):
    """`start` replaces the hook for uncaught errors."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)


@pytest.mark.parametrize(
    "name", ["a/b", "../../x", "/abs", "", ".", "..", "a\nb", "a\\b", " a", "a ", "x" * 250, "\udcff"]
)
def test_a_run_name_that_is_no_plain_name_of_a_folder_is_refused(tmp_path, name, message_of):
    with pytest.raises(InputError, match="run_name .*: give one plain folder name") as error:
        run_folder(tmp_path / "runs", name)
    assert message_of(error)
    assert not (tmp_path / "runs").exists()


def test_start_writes_the_configuration_of_the_workflow_with_its_overrides(tmp_path):
    folder = tmp_path / "runs" / "busi"
    content = {
        "dataset_dir": "data",
        "epochs": 3,
        "resume": False,
        "train": {"optimizer": {"lr": 0.1}, "handlers": [{"interval": 1}]},
        "training": ["$print(@epochs)"],
        "run": ["$print(@epochs)"],
        "imports": ["$import custom", "$import custom.runs.folders"],
        "output_dir": str(folder),
        "initialize": ["$custom.runs.folders.start(@output_dir)"],
    }
    (tmp_path / "base.json").write_text(json.dumps(content))
    workflow = ConfigWorkflow(str(tmp_path / "base.json"), logging_file=False, run_id="run", epochs=5)
    workflow.initialize()
    assert json.loads((folder / "config.json").read_text()) == content | {"epochs": 5}


def test_start_makes_the_folder_where_there_is_no_workflow(tmp_path):
    start(tmp_path / "runs" / "busi")
    assert json.loads((tmp_path / "runs" / "busi" / "config.json").read_text()) == {}


def test_a_folder_that_cannot_be_made_names_the_option(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"output_dir .*cannot be written \(Not a directory\); give --output_dir"):
        start(tmp_path / "file" / "busi")


def test_start_makes_input_errors_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    start(tmp_path)
    assert sys.excepthook is not sys.__excepthook__
