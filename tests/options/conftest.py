from __future__ import annotations

import json
import sys

import fire
import pytest
from monai.bundle import create_workflow

from custom.error_causes import find_input_error
from tests.bundles.conftest import ROOT

CONFIGS = ROOT / "bundles" / "semigda_busi" / "configs"
OVERLAYS = ROOT / "custom" / "configs"


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Function (arguments, configuration, overlays, reads_data) -> the parser of the workflow after the check.

    Goes the way of the command `monai.bundle run`, Fire included, and stops after the check.
    """
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def run(*arguments, config="train", overlays=(), run_id="run", reads_data=False):
        stop = tmp_path / "stop.json"
        check = f"$custom.options.check('{config}')"
        own = {"initialize": ["$import custom", check], "+imports": ["$import custom"]}
        if not reads_data:
            own |= {"data": {}} if config != "inference" else {}
        stop.write_text(json.dumps(own))
        files = [str(CONFIGS / f"{config}.yaml"), *(str(overlay) for overlay in overlays), str(stop)]
        arguments = ["run", run_id, "--config_file", str(files), "--logging_file", "False", *arguments]
        made = []
        monkeypatch.setattr(sys, "argv", ["/site-packages/monai/bundle/__main__.py", *arguments])
        fire.Fire({"run": lambda run_id, **options: made.append(create_workflow(run_id=run_id, **options))}, arguments)
        return made[0].parser

    return run


@pytest.fixture
def refusal(command):
    """Function (as `command`) -> the one line with which the command is refused."""

    def run(*arguments, **settings):
        with pytest.raises((ValueError, RuntimeError)) as error:
            command(*arguments, **settings)
        found = find_input_error(error.value)
        assert found is not None, error.value
        assert "\n" not in str(found)
        return str(found)

    return run
