from __future__ import annotations

import os
import sys

import pytest

from custom.errors import InputError
from custom.tracking.database import sqlite_uri
from custom.tracking.store import artifact_folder, import_mlflow


@pytest.mark.parametrize("uri", ["mlruns", "file:///data/mlruns"])
def test_folder_as_tracking_uri_is_refused(make_tracker, uri):
    with pytest.raises(InputError, match="sqlite"):
        make_tracker(tracking_uri=uri).start()


def test_environment_variable_wins_over_the_given_uri(make_tracker, get_run, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    tracker = make_tracker(tracking_uri="http://127.0.0.1:9")
    tracker.start()
    assert get_run(tracker.run_id).info.status == "RUNNING"


def test_default_store_is_in_the_folder_of_the_run(first_run):
    folder, _ = first_run
    assert {"mlflow_run_id.txt", "mlruns", "mlruns.db"} <= {path.name for path in folder.iterdir()}
    assert len(list(folder.glob("mlruns/**/panels/picture.png"))) == 1
    assert [path.name for path in folder.parents[1].iterdir()] == ["Läufe #1"]


def test_making_of_the_store_is_silent(first_run):
    _, stderr = first_run
    assert stderr == ""


def test_artifacts_are_kept_beside_a_sqlite_file_with_escaped_characters(tmp_path):
    uri = sqlite_uri(tmp_path / "50%?" / "mlruns.db")
    assert artifact_folder(uri) == (tmp_path / "50%?" / "mlruns").as_uri()


def test_tracking_on_without_mlflow_is_refused_in_one_line(make_tracker, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match="mlflow is not installed"):
        make_tracker().start()


def test_reports_about_the_use_of_mlflow_are_off_although_it_was_imported_before(monkeypatch):
    telemetry = pytest.importorskip("mlflow.telemetry")
    seen = []
    monkeypatch.setattr(telemetry, "set_telemetry_client", lambda: seen.append(os.environ["MLFLOW_DISABLE_TELEMETRY"]))
    import_mlflow()
    assert seen == ["true"]
