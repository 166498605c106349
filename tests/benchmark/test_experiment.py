"""The experiment that all runs share is there before they start."""

from __future__ import annotations

import pytest

from custom.tracking import ExperimentTracker, make_experiment


def test_runs_find_the_experiment_made_before_them(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = make_experiment(tmp_path / "mlruns.db", "benchmark_x")
    assert make_experiment(tmp_path / "mlruns.db", "benchmark_x") == uri
    for name in ("first", "second"):
        with ExperimentTracker(True, uri, "benchmark_x", name, tmp_path / name) as tracker:
            tracker.start()
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("benchmark_x")
    assert {run.info.run_name for run in client.search_runs([experiment.experiment_id])} == {"first", "second"}
    assert experiment.artifact_location == (tmp_path / "mlruns").as_uri()
