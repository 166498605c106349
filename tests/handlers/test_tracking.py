from __future__ import annotations

import contextlib
import csv
import io
import logging
import math
import os
import signal
import sys

import pytest
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler

from custom.errors import InputError
from custom.handlers import tracking
from custom.handlers.tracking import ExperimentTracker, TrackingHandler

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(scope="module", autouse=True)
def environment():
    """The tracker changes environment variables of MLflow, which other tests must not see."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*tracking.ENVIRONMENT, "MLFLOW_TRACKING_URI"):
            patch.setenv(name, "")
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def first_run(environment, tmp_path_factory):
    """A run with the default store, whose making takes seconds: its folder and what it said on stderr."""
    logging.getLogger("mlflow").setLevel(logging.INFO)
    folder = tmp_path_factory.mktemp("first") / "Läufe #1" / "run"
    with (
        contextlib.redirect_stderr(io.StringIO()) as stderr,
        ExperimentTracker(True, None, "first", "first", folder) as tracker,
    ):
        tracker.start()
        (folder / "picture.png").write_bytes(b"picture")
        tracker.log_image(folder / "picture.png", "panels")
    return folder, stderr.getvalue()


@pytest.fixture(scope="module")
def store(first_run):
    """Address of a SQLite store."""
    return tracking._sqlite_uri(first_run[0] / "mlruns.db")


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
    return mlflow.MlflowClient(tracking_uri=store).get_run


class CountingTrainer(SupervisedTrainer):
    """A trainer whose loss is the number of its iteration; `fails_at` ends it there with `error`."""

    def __init__(self, max_epochs=2, epoch_length=3, fails_at=None, error=None, **options):
        network = torch.nn.Linear(1, 1)
        batches = [{"labelled": {"image": torch.zeros(2, 3)}, "unlabelled": {"image": torch.zeros(4, 3)}}]
        super().__init__(
            device=torch.device("cpu"),
            max_epochs=max_epochs,
            train_data_loader=batches * epoch_length,
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.5),
            loss_function=None,
            decollate=False,
            **options,
        )
        self.fails_at = fails_at
        self.error = error

    def _iteration(self, engine, batchdata):
        if engine.state.iteration == self.fails_at:
            raise self.error
        iteration = float(engine.state.iteration)
        return {"loss": iteration, "term": torch.tensor(10 * iteration), "pred": torch.zeros(2, 1)}

    def continue_after(self, iteration):
        self.load_state_dict(
            {"iteration": iteration, "max_epochs": self.state.max_epochs, "epoch_length": self.state.epoch_length}
        )


def train(tracker, trainer, stage="alignment", interval=2) -> None:
    TrackingHandler(tracker, stage, interval).attach(trainer)
    trainer.run()


def figures(tracker, name, stage="alignment") -> list[tuple[int, float]]:
    """Steps and values of one figure in the table."""
    with tracker.table.path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["stage"], row["name"]) == (stage, name)]
    return [(int(row["step"]), float(row["value"])) for row in rows]


def history(tracker, name, run_id=None) -> list[tuple[int, float]]:
    """Steps and values of one figure in MLflow."""
    metrics = tracker._client.get_metric_history(run_id or tracker.run_id, name)
    return [(metric.step, metric.value) for metric in metrics]


def artifacts(tracker, folder) -> list[str]:
    return [file.path for file in tracker._client.list_artifacts(tracker.run_id, folder)]


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


def test_outputs_that_are_no_scalars_are_left_out(make_tracker):
    tracker = make_tracker(enabled=False)
    train(tracker, CountingTrainer())
    assert figures(tracker, "pred") == []


def test_learning_rates_of_several_optimisers_and_groups_are_told_apart(make_tracker):
    tracker, trainer = make_tracker(enabled=False), CountingTrainer(max_epochs=1, epoch_length=1)
    groups = [{"params": [torch.zeros(1)], "lr": 0.1, "name": "head"}, {"params": [torch.zeros(1)], "lr": 0.2}]
    trainer.optimizers = {"mapper": trainer.optimizer, "encoder": torch.optim.SGD(groups, lr=1.0)}
    train(tracker, trainer)
    assert figures(tracker, "learning_rate/mapper") == [(1, 0.5)]
    assert figures(tracker, "learning_rate/encoder/head") == [(1, 0.1)]
    assert figures(tracker, "learning_rate/encoder/1") == [(1, 0.2)]


def test_speed_counts_labelled_and_unlabelled_images(make_tracker):
    tracker = make_tracker(enabled=False)
    train(tracker, CountingTrainer(max_epochs=1, epoch_length=3))
    (_, seconds), (_, speed) = figures(tracker, "epoch_seconds")[0], figures(tracker, "images_per_second")[0]
    assert seconds * speed == pytest.approx(3 * (2 + 4), rel=1e-4)


def test_speed_counts_the_images_of_all_processes(make_tracker, monkeypatch):
    monkeypatch.setattr("custom.handlers.tracking.idist.get_world_size", lambda: 3)
    tracker = make_tracker(enabled=False)
    train(tracker, CountingTrainer(max_epochs=1, epoch_length=3))
    (_, seconds), (_, speed) = figures(tracker, "epoch_seconds")[0], figures(tracker, "images_per_second")[0]
    assert seconds * speed == pytest.approx(3 * 3 * (2 + 4), rel=1e-4)


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


def test_names_that_mlflow_refuses_are_mended(make_tracker):
    tracker = make_tracker()
    tracker.start()
    tracker.log_metrics({"time [s]": 2.0}, step=1)
    assert history(tracker, "time _s_") == [(1, 2.0)]


def test_values_that_are_not_finite_are_logged_as_nan_and_told_apart_in_the_table(make_tracker):
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
    tracker.log_image(tmp_path / "epoch_0001.png", "panels")
    assert artifacts(tracker, "panels") == ["panels/epoch_0001.png"]


def test_training_that_ends_is_finished(make_tracker, get_run):
    with make_tracker() as tracker:
        tracker.start()
        run_id = tracker.run_id
        assert get_run(run_id).info.status == "RUNNING"
    assert get_run(run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("no memory"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "FAILED")],
)
def test_exception_in_a_trainer_closes_the_run_and_goes_on(make_tracker, get_run, error, status):
    tracker = make_tracker()
    tracker.start()
    run_id = tracker.run_id
    with pytest.raises(type(error)):
        train(tracker, CountingTrainer(fails_at=4, error=error))
    assert get_run(run_id).info.status == status
    assert get_run(run_id).data.tags["error"].startswith(type(error).__name__)


def test_exception_outside_a_trainer_closes_the_run(make_tracker, get_run):
    with pytest.raises(ZeroDivisionError), make_tracker() as tracker:
        tracker.start()
        run_id = tracker.run_id
        _ = 1 / 0
    assert get_run(run_id).info.status == "FAILED"


def test_sigterm_closes_the_run(make_tracker, get_run):
    trainer = CountingTrainer()
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: os.kill(os.getpid(), signal.SIGTERM))
    tracker = make_tracker()
    tracker.start()
    run_id = tracker.run_id
    with pytest.raises(SystemExit) as left:
        train(tracker, trainer)
    assert left.value.code == 128 + signal.SIGTERM
    assert get_run(run_id).info.status == "FAILED"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_run_nobody_finished_fails_when_python_exits(make_tracker, get_run, monkeypatch):
    at_exit = []
    monkeypatch.setattr(tracking.atexit, "register", at_exit.append)
    tracker = make_tracker()
    tracker.start()
    run_id = tracker.run_id
    at_exit[0]()
    assert get_run(run_id).info.status == "FAILED"


def kill(tracker) -> str:
    """Leave a run behind as a kill -9 does, and return its id."""
    run_id, tracker.run_id = tracker.run_id, None
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


def test_fresh_run_begins_a_new_table_and_keeps_the_old_one(make_tracker):
    for loss in (1.0, 2.0):
        tracker = make_tracker(enabled=False)
        tracker.start()
        tracker.table.append(1, 1, "alignment", {"loss": loss})
    assert figures(tracker, "loss") == [(1, 2.0)]
    assert tracker.table.path.with_name("metrics_previous.csv").read_text().endswith("alignment,loss,1\n")


def test_resumed_run_goes_on_in_the_same_run_without_duplicates(make_tracker, get_run):
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


def test_truncate_leaves_other_stages_alone(make_tracker):
    table = make_tracker(enabled=False).table
    for stage in ("alignment", "segmentation"):
        table.append(5, 1, stage, {"loss": 1.0})
        table.append(6, 1, stage, {"loss": 2.0})
    table.truncate("segmentation", 5)
    assert table.path.read_text().splitlines() == [
        "step,epoch,stage,name,value",
        "5,1,alignment,loss,1",
        "6,1,alignment,loss,2",
        "5,1,segmentation,loss,1",
    ]


def test_repeated_step_appears_once_in_the_table_even_without_truncation(make_tracker):
    first = make_tracker(enabled=False).table
    first.append(1, 1, "alignment", {"loss": 1.0})
    first.append(2, 1, "alignment", {"loss": 2.0})
    resumed = make_tracker(enabled=False, resume=True).table
    resumed.append(2, 1, "alignment", {"loss": 2.0, "term": 5.0})
    resumed.append(3, 1, "alignment", {"loss": 3.0})
    assert resumed.path.read_text().splitlines()[1:] == [
        "1,1,alignment,loss,1",
        "2,1,alignment,loss,2",
        "2,1,alignment,term,5",
        "3,1,alignment,loss,3",
    ]


def test_table_drops_the_half_line_of_a_killed_process(make_tracker):
    table = make_tracker(enabled=False).table
    table.append(1, 1, "alignment", {"loss": 1.0})
    with table.path.open("a") as file:
        file.write("2,1,alignment,loss,0.1")  # of 0.1234
    again = make_tracker(enabled=False).table
    again.append(2, 1, "alignment", {"loss": 0.1234})
    assert again.path.read_text().splitlines()[1:] == ["1,1,alignment,loss,1", "2,1,alignment,loss,0.1234"]


def test_dead_server_gives_one_warning_and_training_goes_on(make_tracker, caplog, monkeypatch):
    tracker = make_tracker()
    tracker.start()
    calls = []

    def fail(*arguments, **options):
        calls.append(arguments)
        raise ConnectionError("server gone")

    monkeypatch.setattr(tracker._client, "log_batch", fail)
    with caplog.at_level(logging.WARNING):
        train(tracker, CountingTrainer(max_epochs=3))
    assert len(calls) == 1  # then MLflow is left alone for a while
    assert [record.getMessage() for record in caplog.records if "server gone" in record.getMessage()] == [
        "MLflow failed, training goes on without it (ConnectionError: server gone)"
    ]
    assert len(figures(tracker, "loss")) == 6


def test_figures_of_a_dead_time_are_sent_when_the_server_is_back(make_tracker, monkeypatch):
    tracker = make_tracker()
    tracker.start()
    with monkeypatch.context() as patch:
        patch.setattr(tracker._client, "log_batch", lambda *arguments, **options: 1 / 0)
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
        tracker.log_image("picture.png", "panels")
        tracker.log_metrics({"loss": 1.0}, step=1)
        train(tracker, CountingTrainer())
    assert len(figures(tracker, "loss")) == 4
    assert sorted(path.name for path in tracker.output_dir.iterdir()) == ["metrics.csv"]


def test_tracking_on_without_mlflow_is_a_mistake_told_in_one_line(make_tracker, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match="mlflow is not installed"):
        make_tracker().start()


def test_exception_reaches_the_caller_with_tracking_off(make_tracker):
    with pytest.raises(RuntimeError, match="no memory"):
        train(make_tracker(enabled=False), CountingTrainer(fails_at=2, error=RuntimeError("no memory")))


@pytest.mark.parametrize("uri", ["mlruns", "file:///data/mlruns"])
def test_folder_as_tracking_uri_is_refused(make_tracker, uri):
    with pytest.raises(InputError, match="sqlite"):
        make_tracker(tracking_uri=uri).start()


def test_environment_variable_wins_over_the_given_uri(make_tracker, get_run, store, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    tracker = make_tracker(tracking_uri="http://127.0.0.1:9")
    tracker.start()
    assert get_run(tracker.run_id).info.status == "RUNNING"


def test_default_store_lies_in_the_folder_of_the_run(first_run):
    folder, _ = first_run
    assert {"mlflow_run_id.txt", "mlruns", "mlruns.db"} <= {path.name for path in folder.iterdir()}
    assert len(list(folder.glob("mlruns/**/panels/picture.png"))) == 1
    assert [path.name for path in folder.parents[1].iterdir()] == ["Läufe #1"]


def test_making_of_the_store_is_silent(first_run):
    _, stderr = first_run
    assert stderr == ""


def test_artifacts_lie_beside_a_sqlite_file_with_escaped_characters(tmp_path):
    uri = tracking._sqlite_uri(tmp_path / "50%?" / "mlruns.db")
    assert tracking._artifact_folder(uri) == (tmp_path / "50%?" / "mlruns").as_uri()


def test_plain_ignite_engine_without_optimiser_can_be_tracked(make_tracker):
    tracker = make_tracker(enabled=False)
    engine = Engine(lambda engine, batch: {"loss": 1.0})
    TrackingHandler(tracker, "alignment", interval=1).attach(engine)
    engine.run([0, 0], max_epochs=1)
    assert figures(tracker, "loss") == [(1, 1.0), (2, 1.0)]


def fail_once(make_tracker, **options):
    """The id of a run that ended with an error."""
    tracker = make_tracker(**options)
    tracker.start()
    run_id = tracker.run_id
    tracker.fail(RuntimeError("no space left"))
    return run_id


def test_the_error_of_a_run_that_was_resumed_and_finished_is_forgotten(make_tracker, get_run):
    run_id = fail_once(make_tracker)
    assert "error" in get_run(run_id).data.tags
    with make_tracker(resume=True) as tracker:
        tracker.start()
        assert tracker.run_id == run_id
    assert "error" not in get_run(run_id).data.tags
    assert get_run(run_id).info.status == "FINISHED"


def test_the_error_of_a_run_that_failed_again_is_the_last(make_tracker, get_run):
    run_id = fail_once(make_tracker)
    tracker = make_tracker(resume=True)
    tracker.start()
    tracker.fail(ValueError("another"))
    assert get_run(run_id).data.tags["error"] == "ValueError: another"


def test_ctrl_c_within_another_error_closes_the_run_as_killed(make_tracker, get_run):
    tracker = make_tracker()
    tracker.start()
    run_id = tracker.run_id
    error = RuntimeError("a worker is gone")
    error.__context__ = KeyboardInterrupt()
    tracker.fail(error)
    assert get_run(run_id).info.status == "KILLED"
