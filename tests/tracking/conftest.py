"""A store of MLflow, whose making takes seconds, and trackers that write to it."""

from __future__ import annotations

import contextlib
import io
import logging

import pytest

from custom.tracking import ExperimentTracker
from custom.tracking.database import sqlite_uri
from custom.tracking.store import ENVIRONMENT


@pytest.fixture(scope="package", autouse=True)
def environment():
    """The tracker changes environment variables of MLflow, which other tests must not see."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*ENVIRONMENT, "MLFLOW_TRACKING_URI"):
            patch.setenv(name, "")
            patch.delenv(name)
        yield


@pytest.fixture(scope="package")
def first_run(environment, tmp_path_factory):
    """A run with the default store, whose making takes seconds: its folder and what it wrote to stderr."""
    pytest.importorskip("mlflow")
    logging.getLogger("mlflow").setLevel(logging.INFO)
    folder = tmp_path_factory.mktemp("first") / "Läufe #1" / "run"
    with (
        contextlib.redirect_stderr(io.StringIO()) as stderr,
        ExperimentTracker(True, None, "first", "first", folder) as tracker,
    ):
        tracker.start()
        (folder / "picture.png").write_bytes(b"picture")
        tracker.log_artifact(folder / "picture.png", "panels")
    return folder, stderr.getvalue()


@pytest.fixture(scope="package")
def store(first_run):
    """Address of a SQLite store."""
    return sqlite_uri(first_run[0] / "mlruns.db")


@pytest.fixture
def make_tracker(store, tmp_path):
    """Makes trackers of the test's folder and takes care that none outlives the test."""
    trackers = []

    def make(**options) -> ExperimentTracker:
        arguments = {"enabled": True, "tracking_uri": store, "experiment_name": "test", "run_name": "same name"}
        trackers.append(ExperimentTracker(**arguments | {"output_dir": tmp_path / "run"} | options))
        return trackers[-1]

    yield make
    for tracker in trackers:
        tracker.finish()


@pytest.fixture
def get_run(store):
    import mlflow

    return mlflow.MlflowClient(tracking_uri=store).get_run
