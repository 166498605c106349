"""MLflow's SQLite file: whether it can be used, and a new one where it was left half-made."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path

__all__ = ["prepare_database", "sqlite_file", "sqlite_uri"]

logger = logging.getLogger(__name__)

PATIENCE = 3.0  # seconds that a database may stay locked


def sqlite_file(uri: str) -> Path | None:
    """The file of a `sqlite:///` tracking URI; None for any other."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").replace("%3F", "?").replace("%25", "%"))


def sqlite_uri(path: Path) -> str:
    """URI of a SQLite file.

    MONAI's `path_to_sqlite_uri` escapes spaces and accents too; MLflow then makes a stray folder of the escaped name.

    Example:
        >>> sqlite_uri(Path("/data/50% done/mlruns.db"))
        'sqlite:////data/50%25 done/mlruns.db'
    """
    return "sqlite:///" + path.as_posix().replace("%", "%25").replace("?", "%3F")


def prepare_database(uri: str, is_ours: bool) -> str | None:
    """Make sure that MLflow can use its database: with one that it cannot read it tries again for minutes.

    A process that is killed while MLflow makes the file leaves it empty or with a part of its tables. If the file is
    ours, such a one, or one that is no database, is kept under another name and MLflow makes a new one.

    Args:
        uri: tracking URI; nothing is done for anything but a SQLite file.
        is_ours: whether the file belongs to the run or benchmark alone; another process may be making it otherwise.

    Returns:
        Why it cannot be used; None if it can.
    """
    path = sqlite_file(uri)
    if path is None or not path.exists():
        return None
    fault = _find_fault(path)
    if fault is None:
        return None
    is_broken, reason = fault
    if not is_broken or not is_ours:
        return f"{path} {reason}"
    try:
        kept = _set_aside(path)
    except OSError as error:
        return f"{path} {reason} and cannot be renamed ({error.strerror})"
    logger.warning("%s %s: it is kept as %s, MLflow starts a new one", path, reason, kept.name)
    return None


def _find_fault(path: Path) -> tuple[bool, str] | None:
    """Whether the file is broken, and what is wrong with it; None for a database that MLflow has made."""
    if not path.is_file():
        return False, "is no file"
    if not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
        return False, "or its folder is read-only"
    if path.stat().st_size == 0:
        return True, "is empty"
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")  # also finishes or takes back what a killed process was writing
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not {"experiments", "runs", "metrics", "params", "tags", "alembic_version"} <= tables:
                return True, "was left half-made"
            runs = database.execute("SELECT count(*) FROM runs").fetchone()[0]
            versions = [version for (version,) in database.execute("SELECT version_num FROM alembic_version")]
            intact = database.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
    except sqlite3.OperationalError as error:
        return False, f"cannot be used ({error})"
    except sqlite3.DatabaseError as error:
        return True, f"is damaged ({error})"
    if not intact:
        return True, "is damaged"
    if runs == 0 and versions != _versions_of_mlflow():
        return True, "was left half-made"
    return None


def _versions_of_mlflow() -> list[str]:
    """The version that a database of the installed MLflow has."""
    import mlflow.store
    from alembic.script import ScriptDirectory

    return ScriptDirectory(str(Path(mlflow.store.__file__).parent / "db_migrations")).get_heads()


def _set_aside(path: Path) -> Path:
    """Rename the database and the files that SQLite keeps beside it, which would spoil a new one."""
    number, kept = 1, path.with_name(f"{path.stem}_broken{path.suffix}")
    while kept.exists():
        number += 1
        kept = path.with_name(f"{path.stem}_broken-{number}{path.suffix}")
    os.rename(path, kept)
    for ending in ("-journal", "-wal", "-shm"):
        beside = path.with_name(path.name + ending)
        if beside.exists():
            os.rename(beside, kept.with_name(kept.name + ending))
    return kept
