from __future__ import annotations

import logging
import math
import sys

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler

from custom.handlers import TrackingHandler
from tests.tracking.trainings import CountingTrainer, artifacts, figures, history, train


def test_loss_terms_are_averaged_between_logs_and_at_the_end_of_an_epoch(make_tracker):
    tracker = make_tracker()
    tracker.start()
    train(tracker, CountingTrainer(max_epochs=2, epoch_length=3), interval=2)
    # Epochs end after iterations 3 and 6: windows {1, 2}, {3}, {4}, {5, 6}.
    assert history(tracker, "alignment/loss") == [(2, 1.5), (3, 3.0), (4, 4.0), (6, 5.5)]
    assert history(tracker, "alignment/term") == [(2, 15.0), (3, 30.0), (4, 40.0), (6, 55.0)]


def test_table_holds_the_same_figures_as_mlflow(make_tracker):
    tracker = make_tracker()
    tracker.start()
    train(tracker, CountingTrainer())
    for name in ("loss", "learning_rate/network", "epoch_seconds", "images_per_second", "peak_memory_mib"):
        in_mlflow = history(tracker, f"alignment/{name}")
        assert [step for step, _ in figures(tracker, name)] == [step for step, _ in in_mlflow]
        assert [value for _, value in figures(tracker, name)] == pytest.approx([value for _, value in in_mlflow])


def test_validation_metrics_carry_the_iteration_of_the_trainer(make_tracker):
    tracker = make_tracker()
    tracker.start()
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[0],
        network=torch.nn.Identity(),
        iteration_update=lambda engine, batch: {},
        decollate=False,
    )
    evaluator.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.state.metrics.update(dice=0.25))
    trainer = CountingTrainer(max_epochs=4, epoch_length=3, train_handlers=[ValidationHandler(2, evaluator)])
    handler = TrackingHandler(tracker, "segmentation")
    handler.attach(trainer)
    handler.attach_evaluator(evaluator, trainer)
    trainer.run()
    assert history(tracker, "segmentation/validation/dice") == [(6, 0.25), (12, 0.25)]
    assert figures(tracker, "validation/dice", "segmentation") == [(6, 0.25), (12, 0.25)]


def test_two_stages_share_one_run(make_tracker, get_run):
    tracker = make_tracker()
    tracker.start()
    for stage in ("alignment", "segmentation"):
        train(tracker, CountingTrainer(), stage)
    assert {"alignment/loss", "segmentation/loss"} <= set(get_run(tracker.run_id).data.metrics)


def test_run_is_described_by_params_tags_and_configuration(make_tracker, get_run, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    tracker = make_tracker()
    tracker.start({"seed": 3, "data": {"labelled": 5}}, tmp_path / "config.json", {"preset": "paper"})
    run = get_run(tracker.run_id)
    assert run.data.params == {"seed": "3", "data/labelled": "5"}
    assert run.data.tags["preset"] == "paper"
    assert run.info.run_name == "same name"
    assert artifacts(tracker, "config") == ["config/config.json"]


def test_params_over_the_length_limit_are_cut(make_tracker, get_run):
    tracker = make_tracker()
    tracker.start({"long": "x" * 7000})
    assert get_run(tracker.run_id).data.params["long"] == "x" * 6000


def test_names_that_mlflow_refuses_are_changed(make_tracker):
    tracker = make_tracker()
    tracker.start()
    tracker.log_metrics({"time [s]": 2.0}, step=1)
    assert history(tracker, "time _s_") == [(1, 2.0)]


def test_values_that_are_not_finite_are_nan_in_mlflow_and_themselves_in_the_table(make_tracker):
    tracker = make_tracker()
    tracker.start()
    tracker.log_metrics({"x": math.inf, "y": math.nan}, step=1)
    assert math.isnan(history(tracker, "x")[0][1])
    assert math.isnan(history(tracker, "y")[0][1])
    tracker.table.append(1, 1, "alignment", {"x": math.inf, "y": math.nan})
    assert figures(tracker, "x") == [(1, math.inf)]


def test_picture_is_kept_with_the_run(make_tracker, tmp_path):
    (tmp_path / "epoch_0001.png").write_bytes(b"picture")
    tracker = make_tracker()
    tracker.start()
    tracker.log_artifact(tmp_path / "epoch_0001.png", "panels")
    assert artifacts(tracker, "panels") == ["panels/epoch_0001.png"]


def kill(tracker) -> str:
    """Leave a run behind as a kill -9 does, and return its id."""
    run_id, tracker._run = tracker.run_id, None
    return run_id


def test_fresh_run_beside_a_killed_one_is_another_and_fails_the_killed_one(make_tracker, get_run):
    killed = make_tracker()
    killed.start({"seed": 1})
    killed.log_metrics({"loss": 1.0}, step=7)
    killed_id = kill(killed)
    fresh = make_tracker()
    fresh.start({"seed": 2})
    fresh.log_metrics({"loss": 2.0}, step=1)
    assert fresh.run_id != killed_id
    assert get_run(killed_id).info.status == "FAILED"
    assert history(fresh, "loss", killed_id) == [(7, 1.0)]
    assert history(fresh, "loss") == [(1, 2.0)]


def test_resumed_run_continues_in_the_same_run_without_duplicates(make_tracker, get_run):
    interrupted = make_tracker()
    interrupted.start()
    with pytest.raises(RuntimeError):
        train(interrupted, CountingTrainer(max_epochs=3, fails_at=6, error=RuntimeError()), interval=1)
    run_id = interrupted._run_id_file.read_text()

    resumed, trainer = make_tracker(resume=True), CountingTrainer(max_epochs=3)
    resumed.start()
    assert resumed.run_id == run_id
    assert get_run(run_id).info.status == "RUNNING"
    trainer.continue_after(3)  # the checkpoint of the first epoch; iterations 4 and 5 were logged too
    resumed.truncate("alignment", 3)
    assert [step for step, _ in figures(resumed, "loss")] == [1, 2, 3]
    train(resumed, trainer, interval=1)

    expected = [(step, float(step)) for step in range(1, 10)]
    assert figures(resumed, "loss") == expected
    assert history(resumed, "alignment/loss") == expected
    resumed.finish()
    assert get_run(run_id).info.status == "FINISHED"


def test_setting_changed_on_resume_becomes_a_tag(make_tracker, get_run):
    first = make_tracker()
    first.start({"epochs": 2, "seed": 1})
    first.finish()
    second = make_tracker(resume=True)
    second.start({"epochs": 4, "seed": 1, "device": "cpu"})
    run = get_run(second.run_id)
    assert run.data.params == {"epochs": "2", "seed": "1", "device": "cpu"}
    assert {name: text for name, text in run.data.tags.items() if name.startswith("resumed.")} == {
        "resumed.epochs": "4"
    }


def test_resume_without_an_earlier_run_in_the_store_starts_one(make_tracker, get_run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mlflow_run_id.txt").write_text("0" * 32)
    tracker = make_tracker(resume=True)
    tracker.start()
    assert get_run(tracker.run_id).info.status == "RUNNING"


def test_dead_server_gives_one_warning_and_training_continues(make_tracker, caplog, monkeypatch):
    tracker = make_tracker()
    tracker.start()
    calls = []

    def fail(*arguments, **options):
        calls.append(arguments)
        raise ConnectionError("server gone")

    monkeypatch.setattr(tracker._run.client, "log_batch", fail)
    with caplog.at_level(logging.WARNING):
        train(tracker, CountingTrainer(max_epochs=3))
    assert len(calls) == 1  # then MLflow is left alone for a while
    assert [record.getMessage() for record in caplog.records if "server gone" in record.getMessage()] == [
        "MLflow failed, training continues without it (ConnectionError: server gone)"
    ]
    assert len(figures(tracker, "loss")) == 6


def test_figures_of_a_dead_time_are_sent_when_the_server_is_back(make_tracker, monkeypatch):
    tracker = make_tracker()
    tracker.start()
    with monkeypatch.context() as patch:
        patch.setattr(tracker._run.client, "log_batch", lambda *arguments, **options: 1 / 0)
        tracker.log_metrics({"loss": 1.0}, step=1)
        tracker.log_metrics({"loss": 2.0}, step=2)
    run_id = tracker.run_id
    tracker.finish()
    assert history(tracker, "loss", run_id) == [(1, 1.0), (2, 2.0)]


def test_server_that_cannot_be_reached_at_the_start_does_not_stop_training(make_tracker, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    tracker = make_tracker(tracking_uri="http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        tracker.start({"seed": 1})
    train(tracker, CountingTrainer())
    assert tracker.run_id is None
    assert len(figures(tracker, "loss")) == 4
    assert sum("MLflow failed" in record.getMessage() for record in caplog.records) == 1


def test_tracking_off_works_without_mlflow(make_tracker, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with make_tracker(enabled=False) as tracker:
        tracker.start({"seed": 1}, "config.json", {"a": "b"})
        tracker.log_params({"seed": 1})
        tracker.log_artifact("picture.png", "panels")
        tracker.log_metrics({"loss": 1.0}, step=1)
        train(tracker, CountingTrainer())
    assert len(figures(tracker, "loss")) == 4
    assert sorted(path.name for path in tracker.output_dir.iterdir()) == ["metrics.csv"]
