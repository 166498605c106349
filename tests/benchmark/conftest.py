"""A real benchmark at a size that trains in seconds, with a method that fails."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from custom.benchmark import command, methods, runs
from custom.phantoms.dataset import write_phantom_dataset
from tests.copies import start_copy

ROOT = Path(__file__).parents[2]
PROTOCOL = {
    "image_size": 32,
    "segmentation_epochs": 12,
    "learning_rate": 0.05,
    "segmentation_labelled_batch": 1,
    "segmentation_unlabelled_batch": 1,
    "val_interval": 4,
    "alignment_epochs": 1,
    "num_workers": 0,
    "mlflow": False,
    "device": "cpu",
    "validate#panels#every": 100,
    "checkpoint_interval": 12,
    "train#method#pseudo_temperature": 0.5,  # of SemiGDA alone, as the next one: the runs of others must not fail
    "network_def#mapper_width": 8,
}


real_start = runs._start_process


class ForkedRun:
    """What `subprocess.Popen` is to the benchmark, with the imports done: a copy of this process runs the command."""

    def __init__(self, command, log, environment):
        def work():
            sys.argv = command[2:]
            runpy.run_module(command[2], run_name="__main__", alter_sys=True)

        self.returncode = None
        with log.open("ab") as file:
            self.pid = start_copy(work, file.fileno(), file.fileno())

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number):
        os.kill(self.pid, number)


@dataclass
class Benchmark:
    """A finished benchmark: its folder, its exit status, what it printed, and how to call it again."""

    output: Path
    arguments: list[str]
    status: int
    printed: str


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """8 labelled phantoms of 32 x 32 pixels in subsets of 2 and 4, 2 unlabelled ones, 2 for validation, 7 for test."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom_dataset(folder, labelled=8, unlabelled=2, validation=2, test=7, image_size=32)
    file = folder / "datalist.json"
    datalist = json.loads(file.read_text())
    images = [item["image"] for item in datalist["training"]]
    datalist["labelled_subsets"] = {"25%": images[:2], "4 images": images[:4]}
    file.write_text(json.dumps(datalist))
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The BUSI bundle, with one more method, which fails once it is started."""
    overlays = tmp_path_factory.mktemp("overlays") / "methods"
    shutil.copytree(methods.OVERLAYS, overlays)
    with (overlays / "ua_mt.yaml").open("a") as ua_mt:
        ua_mt.write("train#method#passes: 2  # to be quick\n")
    (overlays / "broken.yaml").write_text(
        "method: broken\nfirst_stage: none\nnetwork_def: {_target_: custom.networks.NoNetwork}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "OVERLAYS", overlays)
        yield ROOT / "bundles" / "semigda_busi"


@pytest.fixture(scope="session")
def forked():
    """Runs start as copies of this process, which has everything imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_start_process", ForkedRun)
        yield


@pytest.fixture(scope="session")
def benchmark(forked, bundle, phantoms, tmp_path_factory):
    """Two methods and a broken one, two seeds, one subset."""
    folder = tmp_path_factory.mktemp("benchmark")
    protocol = folder / "protocol.json"
    protocol.write_text(json.dumps(PROTOCOL))
    arguments = [
        *("--bundle", str(bundle), "--dataset-dir", str(phantoms), "--methods", "supervised,ua_mt,broken"),
        *("--labels", "4 images", "--seeds", "0,1", "--output", str(folder / "output")),
        *("--protocol", str(protocol), "--published", "BUSI"),
    ]
    return Benchmark(folder / "output", arguments, *call(arguments))


def call(arguments):
    """Exit status of the command, and what it printed."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()) as printed:
        status = command.main(arguments)
    return status, printed.getvalue()
