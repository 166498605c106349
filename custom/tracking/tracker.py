"""The tracker of a training: an MLflow run that never stops it, and a CSV file of the same figures.

MONAI's `MLFlowHandler` and Ignite's `MLflowLogger` do not carry it: a dead server or a changed setting raises an error
in the middle of the training, a run that fails stays RUNNING, and repeated iterations are logged twice. Besides,
`MLFlowHandler` continues any unfinished run of the same name, and `MLflowLogger` has one run for the whole process.

`mlflow` is imported when a tracker that is switched on starts, and may be missing otherwise.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import ignite.distributed as idist

from custom.error_causes import is_interrupt
from custom.tracking.closing import ClosingGuard
from custom.tracking.mlflow_run import MLflowRun
from custom.tracking.safe_calls import SafeCalls
from custom.tracking.store import find_experiment, find_store, import_mlflow
from custom.tracking.table import MetricsTable

__all__ = ["ExperimentTracker"]

logger = logging.getLogger(__name__)


class ExperimentTracker:
    """The MLflow run of one output folder, for all stages of a training.

    Use it as a context manager around the training, or call `finish` yourself. However the process ends short of a
    kill -9, the run gets a closing status: FINISHED, FAILED (an exception, SIGTERM, no `finish`), or KILLED (ctrl-C).
    A run that was killed is set to FAILED when the next one starts in the same folder.

    The id of the run is kept in `<output_dir>/mlflow_run_id.txt`. With `resume` that run continues; otherwise every
    start makes a new run, whatever other runs have the same name. While a resumed run repeats iterations that the
    interrupted one had logged, their figures are not sent again: MLflow cannot take back what it has.

    Tracking never stops a training: a failed call is reported once as a warning, and figures are kept and sent with
    the next call that succeeds. Everything here does nothing when tracking is off, except for the table, and in all
    processes but the first.

    Args:
        enabled: whether to use MLflow at all.
        tracking_uri: an MLflow server or database; None for the SQLite file `<output_dir>/mlruns.db`. The environment
            variable MLFLOW_TRACKING_URI wins over both. Files logged to a SQLite file are kept in `mlruns` beside it.
        experiment_name: MLflow experiment; made if missing.
        run_name: name of the run; need not be unique.
        output_dir: folder of the run.
        resume: continue with the run that was tracked in `output_dir`.
        registered_model: name in MLflow's model registry, of which each logged model becomes a version; None for none.

    Attributes:
        table: `<output_dir>/metrics.csv`, which is written with or without MLflow.
    """

    def __init__(
        self,
        enabled: bool,
        tracking_uri: str | None,
        experiment_name: str,
        run_name: str,
        output_dir: str | os.PathLike[str],
        resume: bool = False,
        registered_model: str | None = None,
    ) -> None:
        self.enabled = enabled
        self.tracking_uri = tracking_uri
        self.experiment_name = experiment_name
        self.run_name = run_name
        self.output_dir = Path(output_dir).absolute()
        self.resume = resume
        self.registered_model = registered_model
        self.table = MetricsTable(self.output_dir / "metrics.csv")
        self._run: MLflowRun | None = None
        self._run_id_file = self.output_dir / "mlflow_run_id.txt"
        self._safely = SafeCalls("MLflow")

    @property
    def run_id(self) -> str | None:
        """Id of the open MLflow run; None when there is none."""
        return None if self._run is None else self._run.run_id

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
        client_class = import_mlflow().MlflowClient
        uri, reason = find_store(self.output_dir / "mlruns.db", self.tracking_uri)
        if reason is not None:
            logger.warning("MLflow cannot be used, training continues without it: %s", reason)
            return
        self._safely(self._open_run, client_class, uri, {name: str(value) for name, value in (tags or {}).items()})
        if self._run is None:
            return
        self._guard = ClosingGuard(self.finish)
        logger.info('MLflow run %s; look at it with: mlflow ui --backend-store-uri "%s"', self.run_id, uri)
        self.log_params(params or {})
        if config_file is not None:
            self.log_artifact(config_file, "config")

    def log_metrics(self, metrics: Mapping[str, Any], step: int) -> None:
        """Log scalars; nested mappings become "outer/inner", other values are left out. The steps of a name rise."""
        if self._run is not None:
            self._run.add_metrics(metrics, step)
            self._safely(self._run.send_metrics)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings. A setting that a resumed run changes becomes a tag "resumed.<name>"."""
        if self._run is not None:
            self._safely(self._run.log_params, params)

    def log_artifact(self, path: str | os.PathLike[str], folder: str | None = None) -> None:
        """Keep a file with the run, in a folder of its artifacts. A resumed run that logs it again replaces it."""
        if self._run is not None:
            self._safely(self._run.log_artifact, path, folder)

    def log_dataset(self, name: str, digest: str, folder: str, images: Mapping[str, int]) -> None:
        """Name the data of the run.

        Args:
            name: name of the data set.
            digest: fingerprint, see `data_fingerprint`.
            folder: where its files are.
            images: number of images of each kind.
        """
        if self._run is not None:
            self._safely(self._run.log_dataset, name, digest, folder, images)

    def log_model(self, model_file: str | os.PathLike[str]) -> None:
        """Keep a `model.pt` as a model that MLflow loads, in the registry too if `registered_model` is given."""
        if self._run is not None:
            self._safely(self._run.log_model, model_file, self.registered_model)

    def truncate(self, stage: str, step: int) -> None:
        """Drop the stage's figures after `step` from the table, for a run resumed from a checkpoint at that step."""
        if idist.get_rank() == 0:
            self.table.truncate(stage, step)

    def finish(self, status: str = "FINISHED") -> None:
        """Close the run with an MLflow status: FINISHED, FAILED or KILLED. The first closing counts."""
        if self._run is None:
            return
        self._safely.retry()
        self._safely(self._run.send_metrics)
        self._safely.retry()
        self._safely(self._run.close, status)
        self._run = None
        self._guard.release()

    def fail(self, error: BaseException) -> None:
        """Close the run as KILLED if `error` is ctrl-C, else as FAILED; the tag "error" holds the reason."""
        if self._run is not None:
            self._safely(self._run.set_error, error)
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

    def _open_run(self, client_class: Any, uri: str, tags: dict[str, str]) -> None:
        client = client_class(tracking_uri=uri)
        previous = self._find_previous_run(client)
        if previous is not None and self.resume:
            self._run = MLflowRun(client, previous.info.run_id)
            self._run.resume(previous, tags)
            return
        if previous is not None and previous.info.status == "RUNNING":
            client.set_terminated(previous.info.run_id, "FAILED")
        experiment = find_experiment(client, self.experiment_name, uri)
        run = client.create_run(experiment, run_name=self.run_name, tags=tags)
        self._run = MLflowRun(client, run.info.run_id)
        self._run_id_file.write_text(self._run.run_id)

    def _find_previous_run(self, client: Any) -> Any | None:
        """The run last tracked in this folder; None if there was none or the store does not know it."""
        from mlflow.exceptions import MlflowException

        if not self._run_id_file.is_file():
            return None
        try:
            run = client.get_run(self._run_id_file.read_text().strip())
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None
