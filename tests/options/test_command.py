"""Whole commands: one line, no folder, and nothing that was typed is evaluated."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from tests.bundles.conftest import CONFIGS, ROOT
from tests.copies import run_module

COMMAND = ("monai.bundle", "run", "--config_file", str(CONFIGS / "train.yaml"))


def run(*arguments, cwd=ROOT):
    return run_module(*COMMAND, *arguments, cwd=cwd, HF_HUB_OFFLINE="1")


def run_for_real(*arguments, cwd=ROOT):
    """In a new process: there too must nothing that is imported on the way evaluate a value."""
    command = [sys.executable, "-m", *COMMAND, *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def refused(result):
    """The one line of an error."""
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert result.stderr.splitlines()[-1] == errors[0]
    return errors[0]


def evil(marker):
    return f"$__import__('pathlib').Path('{marker}').touch()"


@pytest.mark.parametrize("key", ["initialize", "imports"])
def test_a_value_is_never_evaluated_even_in_place_of_the_checks(key, tmp_path):
    line = refused(run(f"--{key}", evil(tmp_path / "marker"), "--runs_dir", str(tmp_path / "runs")))
    assert f"--{key} $" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("key", "start"), [("dataset_dir", run_for_real), ("run", run), ("network", run)])
def test_a_value_is_never_evaluated_away_from_the_code(key, start, tmp_path):
    """MONAI must find the code first, so there the value of bundle_root itself cannot be looked at before."""
    (tmp_path / "here").mkdir()
    root = str(CONFIGS.parent)
    line = refused(start("--bundle_root", root, f"--{key}", evil(tmp_path / "marker"), cwd=tmp_path / "here"))
    assert f"--{key} $" in line
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("arguments", "root"), [([], "bundles/semigda_busi"), (["--bundle_root", "3"], "3"), (["--bundle_root"], "True")]
)
def test_a_bundle_that_is_not_where_it_should_be_is_one_line(arguments, root, tmp_path):
    line = refused(run(*arguments, cwd=tmp_path))
    assert f"error: no bundle at bundle_root {root}; give --bundle_root" in line


def test_a_wrong_value_ends_with_one_line_before_a_folder_is_made(tmp_path):
    line = refused(run_for_real("--segmentation_epochs", "0", "--runs_dir", str(tmp_path / "runs")))
    assert line.startswith("error: --segmentation_epochs 0: give a whole number from 1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--config_file", "x.json", "--init_id", "seed"], "error: --init_id: leave it out"),
        (["ckpt_export", "network_def", "--checkpoint", "$x"], "error: --checkpoint $x: a value must not begin"),
    ],
)
def test_the_guard_ends_a_command_that_would_pass_by_the_checks(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/site-packages/monai/bundle/__main__.py", *arguments])
    sys.modules.pop("custom.options.guard", None)
    with pytest.raises(SystemExit, match="1"):
        importlib.import_module("custom.options.guard")
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1
