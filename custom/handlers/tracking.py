"""Experiment tracking: one MLflow run for all stages of a training, and a CSV file of the same figures.

MLflow is imported when a tracker that is switched on starts, never before, and may be missing otherwise.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.utils import optional_import, path_to_uri

from custom.error_causes import is_interrupt
from custom.errors import InputError
from custom.handlers.metrics_table import MetricsTable
from custom.handlers.tracking_database import prepare_database, sqlite_file

__all__ = ["ExperimentTracker", "TrackingHandler", "make_experiment"]

logger = logging.getLogger(__name__)
resource, has_resource = optional_import("resource")  # Windows has none

RETRY_AFTER = 300.0  # seconds without MLflow after a failed call, so that a dead server does not slow every iteration
MAX_NAME_LENGTH = 250  # MLflow's limits
MAX_VALUE_LENGTH = 6000

# MLflow's own patience with a dead server is minutes a call. It also reports its use to its makers, which is not ours
# to agree to. What the user has set wins.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class ExperimentTracker:
    """The MLflow run of one output folder, for all stages of a training.

    Use it as a context manager around the training, or call `finish` yourself. However the process ends short of a
    kill -9, the run gets a closing status: FINISHED, FAILED (an exception, SIGTERM, no `finish`), or KILLED (ctrl-C).
    A run that was killed is set to FAILED when the next one starts in the same folder.

    The id of the run is kept in `<output_dir>/mlflow_run_id.txt`. With `resume` that run goes on; otherwise every
    start makes a new run, whatever other runs have the same name. While a resumed run repeats iterations that the
    interrupted one had logged, their figures are not sent again: MLflow cannot take back what it has.

    Tracking never stops a training: a failed call is reported once as a warning, and figures are kept and sent with
    the next call that succeeds. Everything here does nothing when tracking is off, except for the table, and in all
    processes but the first.

    Args:
        enabled: whether to use MLflow at all.
        tracking_uri: an MLflow server or database; None for the SQLite file `<output_dir>/mlruns.db`. The environment
            variable MLFLOW_TRACKING_URI wins over both. Files logged to a SQLite file lie in `mlruns` beside it.
        experiment_name: MLflow experiment; made if missing.
        run_name: name of the run; need not be unique.
        output_dir: folder of the run.
        resume: go on with the run that was tracked in `output_dir`.

    Attributes:
        table: `<output_dir>/metrics.csv`, which is written with or without MLflow.
        run_id: id of the open MLflow run; None when there is none.
    """

    def __init__(
        self,
        enabled: bool,
        tracking_uri: str | None,
        experiment_name: str,
        run_name: str,
        output_dir: str | os.PathLike[str],
        resume: bool = False,
    ) -> None:
        self.enabled = enabled
        self.tracking_uri = tracking_uri
        self.experiment_name = experiment_name
        self.run_name = run_name
        self.output_dir = Path(output_dir).absolute()
        self.resume = resume
        self.table = MetricsTable(self.output_dir / "metrics.csv")
        self.run_id: str | None = None
        self._run_id_file = self.output_dir / "mlflow_run_id.txt"
        self._logged_steps: dict[str, int] = {}
        self._pending: list[Any] = []
        self._pause_until = 0.0
        self._has_warned = False
        self._has_former_error = False

    def start(
        self,
        params: Mapping[str, Any] | None = None,
        config_file: str | os.PathLike[str] | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the run and describe it.

        Args:
            params: settings; nested mappings become "outer/inner".
            config_file: the configuration, kept with the run in the folder `config`.
            tags: tags of the run.

        Raises:
            InputError: MLflow is not installed, or the tracking URI is a folder.
        """
        if idist.get_rank() > 0:
            return
        self.output_dir.mkdir(parents=True, exist_ok=True)
        if not self.resume:
            self.table.start_over()
        if not self.enabled:
            return
        self._mlflow = _import_mlflow()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or self.tracking_uri or _sqlite_uri(self.output_dir / "mlruns.db")
        _check_tracking_uri(uri)
        if (reason := prepare_database(uri, is_ours=uri == _sqlite_uri(self.output_dir / "mlruns.db"))) is not None:
            logger.warning("MLflow cannot be used, training goes on without it: %s", reason)
            return
        self._safely(self._open_run, uri, {name: str(value) for name, value in (tags or {}).items()})
        if self.run_id is None:
            return
        self._guard_the_end()
        logger.info('MLflow run %s; look at it with: mlflow ui --backend-store-uri "%s"', self.run_id, uri)
        self.log_params(params or {})
        if config_file is not None:
            self.log_artifact(config_file, "config")

    def log_metrics(self, metrics: Mapping[str, Any], step: int) -> None:
        """Log scalars; nested mappings become "outer/inner", other values are left out. The steps of a name rise.

        Infinite values are sent as nan, which MLflow shows as such; it has no infinity.
        """
        if self.run_id is None:
            return
        now = int(time.time() * 1000)
        for name, value in _scalars(metrics):
            key = _mlflow_name(name)
            if step > self._logged_steps.get(key, -1):
                self._logged_steps[key] = step
                value = value if math.isfinite(value) else math.nan
                self._pending.append(self._mlflow.entities.Metric(key, value, now, step))
        self._safely(self._send_pending)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings, cut to MLflow's length. A setting that a resumed run changes becomes a tag "resumed.<name>"."""
        if self.run_id is not None:
            texts = {_mlflow_name(name): str(value)[:MAX_VALUE_LENGTH] for name, value in _flatten(params)}
            self._safely(self._send_params, texts)

    def log_artifact(self, path: str | os.PathLike[str], folder: str | None = None) -> None:
        """Keep a file with the run, in a folder of its artifacts."""
        if self.run_id is not None:
            self._safely(self._client.log_artifact, self.run_id, str(path), folder)

    def log_image(self, path: str | os.PathLike[str], folder: str) -> None:
        """Keep a picture with the run. A resumed run that draws it again replaces it."""
        self.log_artifact(path, folder)

    def truncate(self, stage: str, step: int) -> None:
        """Drop the stage's figures after `step` from the table, for a run resumed from a checkpoint at that step."""
        if idist.get_rank() == 0:
            self.table.truncate(stage, step)

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run with an MLflow status: FINISHED, FAILED or KILLED. The first closing counts."""
        if self.run_id is None:
            return
        self._pause_until = 0.0
        self._safely(self._send_pending)
        self._pause_until = 0.0
        if status == "FINISHED" and self._has_former_error:
            self._safely(self._client.delete_tag, self.run_id, "error")
        self._safely(self._client.set_terminated, self.run_id, status)
        self.run_id = None
        atexit.unregister(self._finish_at_exit)
        self._release_sigterm()

    def fail(self, error: BaseException) -> None:
        """Close the run as KILLED if `error` is ctrl-C, else as FAILED; the tag "error" says why."""
        if self.run_id is not None:
            text = f"{type(error).__name__}: {error}"[:MAX_VALUE_LENGTH]
            self._safely(self._client.set_tag, self.run_id, "error", text)
            self._has_former_error = False  # a new one
            self.finish("KILLED" if is_interrupt(error) else "FAILED")

    def __enter__(self) -> ExperimentTracker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.fail(error)

    def _safely(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Call MLflow; a failure becomes one warning, and MLflow is left alone for a while."""
        if time.monotonic() < self._pause_until:
            return
        try:
            call(*arguments)
        except Exception as error:
            self._pause_until = time.monotonic() + RETRY_AFTER
            if not self._has_warned:
                message = " ".join(str(error).split())[:300]
                logger.warning("MLflow failed, training goes on without it (%s: %s)", type(error).__name__, message)
            self._has_warned = True

    def _open_run(self, uri: str, tags: dict[str, str]) -> None:
        self._client = self._mlflow.MlflowClient(tracking_uri=uri)
        previous = self._find_previous_run()
        if previous is not None and self.resume:
            self.run_id = previous.info.run_id
            self._client.update_run(self.run_id, status="RUNNING")
            self._has_former_error = "error" in previous.data.tags
            for name, value in tags.items():
                self._client.set_tag(self.run_id, name, value)
            for key in previous.data.metrics:
                history = self._client.get_metric_history(self.run_id, key)
                self._logged_steps[key] = max(metric.step for metric in history)
            return
        if previous is not None and previous.info.status == "RUNNING":
            self._client.set_terminated(previous.info.run_id, "FAILED")
        run = self._client.create_run(
            _find_experiment(self._client, self.experiment_name, uri), run_name=self.run_name, tags=tags
        )
        self.run_id = run.info.run_id
        self._run_id_file.write_text(self.run_id)

    def _find_previous_run(self) -> Any | None:
        """The run last tracked in this folder; None if there was none or the store does not know it."""
        if not self._run_id_file.is_file():
            return None
        try:
            run = self._client.get_run(self._run_id_file.read_text().strip())
        except self._mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    def _send_pending(self) -> None:
        if not self._pending:
            return
        self._client.log_batch(self.run_id, metrics=self._pending)
        self._pending = []

    def _send_params(self, texts: dict[str, str]) -> None:
        """MLflow refuses to change a setting, so one that a resumed run has changed is told in a tag."""
        logged = self._client.get_run(self.run_id).data.params
        entities = self._mlflow.entities
        new = [entities.Param(name, text) for name, text in texts.items() if name not in logged]
        changed = [
            entities.RunTag(f"resumed.{name}"[:MAX_NAME_LENGTH], text)
            for name, text in texts.items()
            if logged.get(name, text) != text
        ]
        self._client.log_batch(self.run_id, params=new, tags=changed)

    def _guard_the_end(self) -> None:
        """See to it that the run is closed when nobody calls `finish`, and when the process gets SIGTERM."""
        self._process = os.getpid()
        self._handles_sigterm = False
        atexit.register(self._finish_at_exit)
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _exit_on_signal)
            self._handles_sigterm = True

    def _release_sigterm(self) -> None:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if self._handles_sigterm and in_main_thread and signal.getsignal(signal.SIGTERM) is _exit_on_signal:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _finish_at_exit(self) -> None:
        if os.getpid() == self._process:  # not in a forked loader worker
            was_interrupted = is_interrupt(getattr(sys, "last_value", None))
            self.finish("KILLED" if was_interrupted else "FAILED")


class TrackingHandler:
    """Ignite handler that writes one stage's figures to the tracker's table and MLflow run.

    Figures are called `<prefix>/<name>` in MLflow; in the table `prefix` is the stage. Their step is the trainer's
    iteration. Under several processes the first one writes, and losses are those of its share of the batch.

    * every `interval` iterations and at the end of an epoch: the mean of each scalar of the trainer's output since
      the figures before, and `learning_rate/<optimiser>`;
    * every epoch: `epoch_seconds` (training alone), `images_per_second`, and `peak_memory_mib`: of the process so
      far, on the GPU if the trainer runs there;
    * every validation: `validation/<metric>`.

    Closing a window with the epoch makes the figures of a resumed run those of an uninterrupted one.

    Args:
        tracker: where to write.
        prefix: the stage.
        interval: iterations between two figures.
    """

    def __init__(self, tracker: ExperimentTracker, prefix: str, interval: int = 10) -> None:
        self.tracker = tracker
        self.prefix = prefix
        self.interval = interval
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        self._images = 0

    def attach(self, trainer: Engine) -> None:
        """Register with a trainer whose output is a dictionary and whose batches are not decollated.

        The learning rates are those of `trainer.optimizers`, a dictionary, or else of `trainer.optimizer`.
        """
        if idist.get_rank() > 0:
            return
        trainer.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        trainer.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self._log_window)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._log_epoch)
        trainer.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def attach_evaluator(self, evaluator: Engine, trainer: Engine) -> None:
        """Register with the evaluator that runs during the epochs of `trainer`; all its scalar metrics are logged."""
        if idist.get_rank() == 0:
            evaluator.add_event_handler(Events.COMPLETED, self._log_validation, trainer)

    def _start_epoch(self) -> None:
        self._sums, self._counts, self._images = {}, {}, 0

    def _collect(self, trainer: Engine) -> None:
        # Sums stay tensors: turning them into numbers here would make every iteration wait for the GPU.
        for name, value in trainer.state.output.items():
            if _is_scalar(value):
                value = value.detach().float() if isinstance(value, torch.Tensor) else value
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1
        self._images += _count_images(trainer.state.batch)

    def _log_window(self, trainer: Engine) -> None:
        if self._sums:
            means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
            self._log(means | _learning_rates(trainer), trainer)
        self._sums, self._counts = {}, {}

    def _log_epoch(self, trainer: Engine) -> None:
        self._log_window(trainer)
        seconds = trainer.state.times[Events.EPOCH_COMPLETED.name]
        images = self._images * idist.get_world_size()  # all processes have batches of one size
        figures = {"epoch_seconds": seconds, "images_per_second": images / max(seconds, 1e-9)}
        self._log(figures | _peak_memory(getattr(trainer.state, "device", None)), trainer)

    def _log_validation(self, evaluator: Engine, trainer: Engine) -> None:
        self._log({"validation": evaluator.state.metrics}, trainer)

    def _log(self, figures: Mapping[str, Any], trainer: Engine) -> None:
        state, values = trainer.state, dict(_scalars(figures))
        self.tracker.table.append(state.iteration, state.epoch, self.prefix, values)
        self.tracker.log_metrics({self.prefix: values}, state.iteration)

    def _fail(self, _: Engine, error: BaseException) -> None:
        self.tracker.fail(error)
        raise error  # Ignite swallows an exception once a handler listens to it


def make_experiment(database: Path, name: str) -> str:
    """Make the SQLite file and the experiment, so that runs which start at the same moment all find them.

    Args:
        database: the file; the environment variable MLFLOW_TRACKING_URI wins over it, as for the tracker.
        name: MLflow experiment.

    Returns:
        The tracking URI for the runs.

    Raises:
        InputError: MLflow is not installed, or the tracking URI is a folder.
    """
    mlflow = _import_mlflow()
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _sqlite_uri(database)
    _check_tracking_uri(uri)
    reason = prepare_database(uri, is_ours=uri == _sqlite_uri(database))
    if reason is not None:
        logger.warning("MLflow cannot be used: %s", reason)
        return uri
    try:
        _find_experiment(mlflow.MlflowClient(tracking_uri=uri), name, uri)
    except Exception as error:  # every run says for itself that tracking fails, and is trained all the same
        logger.warning("MLflow failed (%s: %s)", type(error).__name__, " ".join(str(error).split())[:300])
    return uri


def _find_experiment(client: Any, name: str, uri: str) -> str:
    """Id of the experiment, which is made if missing."""
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=_artifact_folder(uri))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run has just made it
                raise
        experiment = client.get_experiment_by_name(name)
    return experiment.experiment_id


def _import_mlflow() -> Any:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
    except ImportError as error:
        raise InputError(
            "tracking is on but mlflow is not installed: install mlflow, or switch tracking off"
        ) from error
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # silences the making of the database, table by table
    return mlflow


def _check_tracking_uri(uri: str) -> None:
    if uri.startswith("file:") or ("://" not in uri and not uri.startswith("databricks")):
        raise InputError(
            f"tracking URI {uri!r}: MLflow no longer writes to a folder; give a server (http://...) or a SQLite file "
            "(sqlite:////absolute/path/mlruns.db)"
        )


def _sqlite_uri(path: Path) -> str:
    """URI of a SQLite file.

    MONAI's `path_to_sqlite_uri` escapes spaces and accents too; MLflow then makes a stray folder of the escaped name.
    """
    return "sqlite:///" + path.as_posix().replace("%", "%25").replace("?", "%3F")


def _artifact_folder(uri: str) -> str | None:
    """Folder `mlruns` beside a SQLite file; None lets a server choose."""
    path = sqlite_file(uri)
    return None if path is None else path_to_uri(path.parent / "mlruns")


def _exit_on_signal(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _mlflow_name(name: str) -> str:
    """The name with what MLflow does not allow replaced."""
    return re.sub(r"[^A-Za-z0-9_\-. /]", "_", name)[:MAX_NAME_LENGTH]


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _is_scalar(value: Any) -> bool:
    """Whether it is one number: of Python or NumPy, or an array or tensor without axes."""
    return isinstance(value, (int, float)) or getattr(value, "shape", None) == ()


def _scalars(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    return ((name, float(value)) for name, value in _flatten(values) if _is_scalar(value))


def _learning_rates(trainer: Engine) -> dict[str, float]:
    """`learning_rate/<optimiser>`, followed by the group's name or number where there are several groups."""
    optimizers = getattr(trainer, "optimizers", None)
    if optimizers is None:
        optimizers = {"network": trainer.optimizer} if hasattr(trainer, "optimizer") else {}
    rates = {}
    for name, optimizer in optimizers.items():
        groups = optimizer.param_groups
        for number, group in enumerate(groups):
            suffix = f"/{group.get('name', number)}" if len(groups) > 1 else ""
            rates[f"learning_rate/{name}{suffix}"] = float(group["lr"])
    return rates


def _count_images(batch: Any) -> int:
    """Images in a batch: a dictionary with "image" [B, ...], or a dictionary or sequence of such."""
    if isinstance(batch, Mapping):
        return len(batch["image"]) if "image" in batch else sum(map(_count_images, batch.values()))
    return sum(map(_count_images, batch)) if isinstance(batch, (list, tuple)) else 0


def _peak_memory(device: torch.device | None) -> dict[str, float]:
    """Most memory held so far, MiB: on the GPU by PyTorch, or by the process; empty where it cannot be known."""
    if device is not None and device.type == "cuda":
        return {"peak_memory_mib": torch.cuda.max_memory_allocated(device) / 2**20}
    if not has_resource:
        return {}
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory_mib": size / 2**20 if sys.platform == "darwin" else size / 2**10}
