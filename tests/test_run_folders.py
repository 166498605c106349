from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from custom import run_folders
from custom.errors import InputError
from custom.run_folders import check_command_line, run_folder, start

BASE = {
    "imports": ["$import os"],
    "dataset_dir": "data",
    "epochs": 3,
    "resume": False,
    "train": {"optimizer": {"lr": 0.1}, "handlers": [{"interval": 1}]},
    "training": ["$print(@epochs)"],
    "run": ["$print(@epochs)"],
}


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def base(tmp_path):
    return write(tmp_path / "base.json", BASE)


def check(base, *arguments):
    return check_command_line(["run", "--config_file", base, *arguments])


def refusal(base, *arguments):
    with pytest.raises(InputError) as error:
        check(base, *arguments)
    return str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--dataset_dir", "elsewhere"],
        ["--dataset_dir=a=b"],
        ["--resume"],
        ["--resume", "--epochs", "5"],
        ["--epochs", "-1"],
        ["--train#optimizer#lr", "0.5"],
        ["--train::optimizer::lr", "0.5"],
        ["--train#handlers#0#interval", "7"],
    ],
    ids=" ".join,
)
def test_known_keys_are_accepted(base, arguments):
    check(base, *arguments)


@pytest.mark.parametrize("option", ["--meta_file", "--logging_file", "--init_id", "--args_file"])
def test_options_of_monai_itself_are_accepted(base, option):
    check(base, option, "x")


@pytest.mark.parametrize("arguments", [["--epoch", "5"], ["--epoch=5"], ["--resume", "--epoch"]], ids=" ".join)
def test_a_mistyped_option_names_the_nearest_key(base, arguments):
    assert refusal(base, *arguments) == "unknown option --epoch; did you mean 'epochs'?"


def test_a_mistyped_nested_option_names_the_nearest_key(base):
    message = refusal(base, "--train#optimizer#lrr", "0.5")
    assert message == "unknown option --train#optimizer#lrr; did you mean 'train#optimizer#lr'?"


def test_an_option_like_no_other_points_to_the_configuration(base):
    message = refusal(base, "--zzz", "1")
    assert message == "unknown option --zzz; see the configuration file for what can be set"


def test_options_joined_to_their_values_are_read_everywhere(base):
    with pytest.raises(InputError, match="unknown option --epoch;"):
        check_command_line(["run", f"--config_file={base}", "--epoch=5"])


@pytest.mark.parametrize("run_id", [["training"], ["--run_id", "training"]], ids=" ".join)
def test_another_run_id_can_be_given(base, run_id):
    check_command_line(["run", *run_id, "--config_file", base])


@pytest.mark.parametrize("run_id", [["trainin"], ["--run_id", "trainin"]], ids=" ".join)
def test_an_unknown_run_id_names_the_nearest(base, run_id):
    with pytest.raises(InputError, match=r"no run id 'trainin' in .*base\.json; did you mean 'training'\?"):
        check_command_line(["run", *run_id, "--config_file", base])


def check_overlay(base, tmp_path, content, form="['{}', '{}']"):
    check(form.format(base, write(tmp_path / "over lay.json", content)))


@pytest.mark.parametrize("form", ["['{}', '{}']", "['{}','{}']", '["{}", "{}"]', "{},{}"])
def test_an_unknown_key_of_an_overlay_names_file_and_nearest_key(base, tmp_path, form):
    with pytest.raises(InputError, match=r"/over lay\.json: unknown key 'dataset_dri'; did you mean 'dataset_dir'\?"):
        check_overlay(base, tmp_path, {"epochs": 9, "dataset_dri": "elsewhere"}, form)


def test_a_key_of_an_overlay_is_known_if_a_value_refers_to_it(base, tmp_path):
    check_overlay(base, tmp_path, {"phantom_seed": 4, "dataset_dir": "$make(seed=@phantom_seed)"})


@pytest.mark.parametrize(
    ("key", "value"),
    [("+imports", ["$import sys"]), ("train#optimizer#lr", 0.5), ("train::optimizer::lr", 0.5), ("_meta_", {})],
)
def test_keys_of_an_overlay_that_change_a_part_are_judged_by_their_root(base, tmp_path, key, value):
    check_overlay(base, tmp_path, {key: value})


@pytest.mark.parametrize("arguments", [["trian"], ["run", "trian"], ["download", "--config_file", "x.json", "--trian"]])
def test_other_commands_are_left_alone(arguments):
    check_command_line(arguments)


def test_a_process_that_is_no_bundle_command_is_left_alone(base, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/pytest", "run", "--config_file", base, "--epoch", "5"])
    check_command_line()


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
    script = (
        f"from custom.folder_lock import lock_folder; lock_folder({str(tmp_path)!r}); print(1, flush=True); input()"
    )
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


def test_start_refuses_a_mistyped_option_before_it_makes_the_folder(base, tmp_path, monkeypatch):
    program = "/site-packages/monai/bundle/__main__.py"
    monkeypatch.setattr(sys, "argv", [program, "run", "--config_file", base, "--epoch", "5"])
    with pytest.raises(InputError, match="did you mean 'epochs'"):
        start(tmp_path / "runs" / "busi")
    assert not (tmp_path / "runs").exists()


def test_start_writes_the_configuration_of_the_workflow_with_its_overrides(tmp_path):
    folder = tmp_path / "runs" / "busi"
    content = BASE | {
        "imports": ["$import custom", "$import custom.run_folders"],
        "output_dir": str(folder),
        "initialize": ["$custom.run_folders.start(@output_dir)"],
    }
    workflow = ConfigWorkflow(write(tmp_path / "base.json", content), logging_file=False, run_id="run", epochs=5)
    workflow.initialize()
    assert json.loads((folder / "config.json").read_text()) == content | {"epochs": 5}


def test_start_makes_the_folder_where_there_is_no_workflow(tmp_path):
    start(tmp_path / "runs" / "busi")
    assert json.loads((tmp_path / "runs" / "busi" / "config.json").read_text()) == {}


def test_a_folder_that_cannot_be_made_names_the_option(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"output_dir .*cannot be written \(Not a directory\); give --output_dir"):
        start(tmp_path / "file" / "busi")


def test_start_makes_input_errors_one_line(tmp_path):
    before = sys.excepthook
    start(tmp_path)
    assert sys.excepthook is not before


def test_an_overlay_may_bring_what_monai_evaluates_of_itself(base, tmp_path):
    check_overlay(base, tmp_path, {"initialize": [], "finalize": ["$print('done')"]})
