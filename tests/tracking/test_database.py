from __future__ import annotations

import logging
import os
import random
import sqlite3
from contextlib import closing

import pytest

from custom.tracking import database as tracking_database
from custom.tracking.database import prepare_database, sqlite_file

TABLES = ("experiments", "runs", "metrics", "params", "tags", "alembic_version")
HEAD = "newest"


@pytest.fixture(autouse=True)
def head(monkeypatch):
    monkeypatch.setattr(tracking_database, "_versions_of_mlflow", lambda: [HEAD])
    monkeypatch.setattr(tracking_database, "PATIENCE", 0.05)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mlruns.db"


def write(path, tables=TABLES, runs=0, version=HEAD):
    with closing(sqlite3.connect(path)) as database:
        for name in tables:
            database.execute(f"CREATE TABLE {name} ({'version_num' if name == 'alembic_version' else 'id'})")
        if "runs" in tables:
            database.executemany("INSERT INTO runs VALUES (?)", [(number,) for number in range(runs)])
        if "alembic_version" in tables and version:
            database.execute("INSERT INTO alembic_version VALUES (?)", (version,))
        database.commit()


def prepare(path, is_ours=True):
    return prepare_database(f"sqlite:///{path}", is_ours)


BROKEN = {
    "empty": lambda path: path.touch(),
    "no tables": lambda path: write(path, ()),
    "some tables": lambda path: write(path, TABLES[:3]),
    "no version": lambda path: write(path, version=None),
    "half of the migrations": lambda path: write(path, version="an earlier one"),
    "text": lambda path: path.write_text("no database"),
    "noise": lambda path: path.write_bytes(random.Random(0).randbytes(9000)),
    "cut short": lambda path: (write(path, runs=9), path.write_bytes(path.read_bytes()[:5000])),
}


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN)
def test_a_broken_database_is_kept_under_another_name_and_reported_once(make, path, caplog):
    make(path)
    content = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert prepare(path) is None
    assert not path.exists()
    assert path.with_name("mlruns_broken.db").read_bytes() == content
    (record,) = caplog.records
    assert "it is kept as mlruns_broken.db, MLflow starts a new one" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_second_broken_database_replaces_no_other(path):
    for _ in range(3):
        path.touch()
        prepare(path)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "mlruns_broken-2.db",
        "mlruns_broken-3.db",
        "mlruns_broken.db",
    ]


@pytest.mark.parametrize("make", BROKEN.values(), ids=BROKEN)
def test_a_database_of_others_is_left_alone(make, path):
    make(path)
    content = path.read_bytes()
    assert str(path) in prepare(path, is_ours=False)
    assert path.read_bytes() == content


@pytest.mark.parametrize(("runs", "version"), [(0, HEAD), (3, HEAD), (3, "an earlier one")])
def test_a_whole_database_stays(runs, version, path, caplog):
    write(path, runs=runs, version=version)
    content = path.read_bytes()
    assert prepare(path) is None
    assert path.read_bytes() == content
    assert not caplog.records


def test_a_locked_database_is_reported_soon_and_stays(path):
    write(path, runs=1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in prepare(path)
    assert path.exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everything")
def test_a_read_only_database_is_reported_and_stays(path):
    write(path, runs=1)
    path.chmod(0o444)
    assert "read-only" in prepare(path)
    assert path.exists()


def test_a_folder_in_its_place_is_reported(path):
    path.mkdir()
    assert "is no file" in prepare(path)


def test_what_sqlite_kept_beside_a_broken_database_goes_with_it(path):
    path.write_text("no database")
    path.with_name("mlruns.db-journal").touch()
    prepare(path)
    assert sorted(file.name for file in path.parent.iterdir()) == ["mlruns_broken.db", "mlruns_broken.db-journal"]


@pytest.mark.parametrize("uri", ["http://localhost:5000", "databricks", "sqlite:////nowhere/mlruns.db"])
def test_nothing_is_done_for_servers_and_new_files(uri):
    assert prepare_database(uri, is_ours=True) is None


def test_a_uri_names_its_file():
    assert sqlite_file("sqlite:////a b/50%25 what%3F.db").as_posix() == "/a b/50% what?.db"
    assert sqlite_file("http://localhost") is None


def test_the_version_of_mlflow_is_known(monkeypatch):
    monkeypatch.undo()
    (version,) = tracking_database._versions_of_mlflow()
    assert version
