"""Where MLflow keeps its runs: the address of the store and the experiment in it."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from monai.utils import path_to_uri

from custom.errors import InputError, short_reason
from custom.tracking.database import prepare_database, sqlite_file, sqlite_uri

__all__ = ["find_experiment", "find_store", "import_mlflow", "make_experiment"]

logger = logging.getLogger(__name__)

# MLflow's own patience with a dead server is minutes per call. It also sends reports about its use to its makers, which
# needs the user's consent, not ours. What the user has set wins.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def import_mlflow() -> Any:
    """The module `mlflow`, with its patience, its reports and its log messages reduced.

    Raises:
        InputError: MLflow is not installed.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
        from mlflow import telemetry
    except ImportError as error:
        raise InputError("mlflow is not installed: install it, or give --mlflow false for no tracking") from error
    telemetry.set_telemetry_client()  # reads the environment again: MONAI's handlers import MLflow before us
    if "MLFLOW_LOGGING_LEVEL" not in os.environ:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # silences the making of the database, table by table
    return mlflow


def find_store(database: Path, tracking_uri: str | None = None) -> tuple[str, str | None]:
    """The address of the store, and why it cannot be used: None if it can.

    Args:
        database: the SQLite file of the run or benchmark, which is used if no other store is given.
        tracking_uri: a server or database. The environment variable MLFLOW_TRACKING_URI wins over both.

    Raises:
        InputError: the address is a folder.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or tracking_uri or sqlite_uri(database)
    if uri.startswith("file:") or ("://" not in uri and not uri.startswith("databricks")):
        raise InputError(
            f"tracking URI {uri!r}: MLflow no longer writes to a folder; give a server (http://...) or a SQLite file "
            "(sqlite:////absolute/path/mlruns.db)"
        )
    return uri, prepare_database(uri, is_ours=uri == sqlite_uri(database))


def find_experiment(client: Any, name: str, uri: str) -> str:
    """Id of an experiment, which is made if missing.

    Args:
        client: an `MlflowClient`.
        name: name of the experiment.
        uri: address of the store. Files of runs in a SQLite file go to the folder `mlruns` beside it; a server
            chooses its own.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return client.create_experiment(name, artifact_location=artifact_folder(uri))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another run has just made it
                raise
        experiment = client.get_experiment_by_name(name)
    return experiment.experiment_id


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
    mlflow = import_mlflow()
    uri, reason = find_store(database)
    if reason is not None:
        logger.warning("MLflow cannot be used: %s", reason)
        return uri
    try:
        find_experiment(mlflow.MlflowClient(tracking_uri=uri), name, uri)
    except Exception as error:  # every run warns about it too, and is trained all the same
        logger.warning("MLflow failed (%s: %s)", type(error).__name__, short_reason(error, 300))
    return uri


def artifact_folder(uri: str) -> str | None:
    """Address of the folder `mlruns` beside a SQLite file; None lets a server choose."""
    path = sqlite_file(uri)
    return None if path is None else path_to_uri(path.parent / "mlruns")
