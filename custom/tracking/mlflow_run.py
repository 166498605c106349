"""One run in MLflow, written through MLflow's client. Every call of the client may fail; `SafeCalls` is around them."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custom.tracking.figures import flatten, scalars
from custom.tracking.logged_model import write_mlflow_model

__all__ = ["MLflowRun"]

MAX_NAME_LENGTH = 250  # MLflow's limits
MAX_VALUE_LENGTH = 6000


class MLflowRun:
    """The figures, settings, files and closing status of one run.

    Args:
        client: an `MlflowClient`.
        run_id: id of a run of its store.
    """

    def __init__(self, client: Any, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self._logged_steps: dict[str, int] = {}
        self._pending: list[Any] = []
        self._has_former_error = False

    def resume(self, previous: Any, tags: Mapping[str, str]) -> None:
        """Continue with a run that has ended, from MLflow's description of it; its figures are not sent again."""
        self.client.update_run(self.run_id, status="RUNNING")
        self._has_former_error = "error" in previous.data.tags
        for name, value in tags.items():
            self.client.set_tag(self.run_id, name, value)
        for key in previous.data.metrics:
            history = self.client.get_metric_history(self.run_id, key)
            self._logged_steps[key] = max(metric.step for metric in history)

    def add_metrics(self, metrics: Mapping[str, Any], step: int) -> None:
        """Keep the scalars of `metrics` for `send_metrics`, without those of steps that the run has already.

        Infinite values become nan, which MLflow shows as such; it has no infinity.
        """
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        for name, value in scalars(metrics):
            key = _allowed_name(name)
            if step > self._logged_steps.get(key, -1):
                self._logged_steps[key] = step
                self._pending.append(Metric(key, value if math.isfinite(value) else math.nan, now, step))

    def send_metrics(self) -> None:
        """Send what was added since the last success."""
        if self._pending:
            self.client.log_batch(self.run_id, metrics=self._pending)
            self._pending = []

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log settings, cut to MLflow's length.

        MLflow refuses to change a setting, so one that a resumed run has changed becomes a tag "resumed.<name>".
        """
        from mlflow.entities import Param, RunTag

        texts = {_allowed_name(name): str(value)[:MAX_VALUE_LENGTH] for name, value in flatten(params)}
        logged = self.client.get_run(self.run_id).data.params
        new = [Param(name, text) for name, text in texts.items() if name not in logged]
        changed = [
            RunTag(f"resumed.{name}"[:MAX_NAME_LENGTH], text)
            for name, text in texts.items()
            if logged.get(name, text) != text
        ]
        self.client.log_batch(self.run_id, params=new, tags=changed)

    def log_artifact(self, path: str | os.PathLike[str], folder: str | None) -> None:
        """Keep a file with the run."""
        self.client.log_artifact(self.run_id, str(path), folder)

    def log_dataset(self, name: str, digest: str, folder: str, images: Mapping[str, int]) -> None:
        """Name the data that were used: their fingerprint, their folder, and the number of images of each kind."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source, profile = json.dumps({"uri": folder}), json.dumps(dict(images))
        data = Dataset(name, digest, "local", source, profile=profile)
        self.client.log_inputs(self.run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])

    def log_model(self, model_file: str | os.PathLike[str], registered_model: str | None) -> None:
        """Keep a `model.pt` as a logged model of the run, see `write_mlflow_model`, and of a registered one."""
        from mlflow.entities import LoggedModelOutput

        experiment = self.client.get_run(self.run_id).info.experiment_id
        logged = self.client.create_logged_model(experiment, "segmentation", self.run_id)
        status = "FAILED"
        try:
            with tempfile.TemporaryDirectory() as folder:
                write_mlflow_model(model_file, Path(folder, "model"))
                self.client.log_model_artifacts(logged.model_id, str(Path(folder, "model")))
            status = "READY"
        finally:
            self.client.finalize_logged_model(logged.model_id, status)
        # The page of the run shows what is among its outputs.
        step = max(self._logged_steps.values(), default=0)
        self.client.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, step)])
        if registered_model is not None:
            self._register(registered_model, logged)

    def _register(self, name: str, logged: Any) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # By its place: an address "models:/ID" is looked up in the store of the whole process, which may be another.
        self.client.create_model_version(name, logged.artifact_location, self.run_id, model_id=logged.model_id)

    def set_error(self, error: BaseException) -> None:
        """Set the tag "error"."""
        self.client.set_tag(self.run_id, "error", f"{type(error).__name__}: {error}"[:MAX_VALUE_LENGTH])

    def close(self, status: str) -> None:
        """Set the closing status; a run that is finished after all loses the error of its former end."""
        if status == "FINISHED" and self._has_former_error:
            self.client.delete_tag(self.run_id, "error")
        self.client.set_terminated(self.run_id, status)


def _allowed_name(name: str) -> str:
    """The name with what MLflow does not allow replaced."""
    return re.sub(r"[^A-Za-z0-9_\-. /]", "_", name)[:MAX_NAME_LENGTH]
