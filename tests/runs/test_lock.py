from __future__ import annotations

import multiprocessing
import os
import signal

import pytest

from custom.errors import InputError
from custom.runs.lock import LOCK, lock_folder, remove_leftovers, unlock_folder
from tests.conftest import in_one_line

FORK = multiprocessing.get_context("fork")


def hold(folder, connection):
    lock_folder(folder)
    connection.send("locked")
    connection.recv()


@pytest.fixture
def other_process(tmp_path):
    """A process that holds the lock of `tmp_path`."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=hold, args=(tmp_path, there))
    process.start()
    assert here.recv() == "locked"
    yield process
    process.kill()
    process.join()


def test_a_second_process_is_refused_in_one_line(other_process, tmp_path):
    with pytest.raises(InputError, match="is in use: another process works in it") as error:
        lock_folder(tmp_path)
    assert str(tmp_path) in in_one_line(error)


def test_a_process_that_is_killed_leaves_the_folder_free(other_process, tmp_path):
    os.kill(other_process.pid, signal.SIGKILL)
    other_process.join()
    lock_folder(tmp_path)
    unlock_folder(tmp_path)


def refused(folder, connection):
    try:
        lock_folder(folder)
    except InputError:
        connection.send(True)
    else:
        connection.send(False)


def is_refused_elsewhere(folder):
    here, there = FORK.Pipe()
    process = FORK.Process(target=refused, args=(folder, there))
    process.start()
    process.join()
    return here.recv()


def test_a_process_may_lock_its_folder_again_and_frees_it_at_once(tmp_path):
    lock_folder(tmp_path)
    lock_folder(tmp_path)
    assert is_refused_elsewhere(tmp_path)
    unlock_folder(tmp_path)
    assert not is_refused_elsewhere(tmp_path)


def test_a_folder_inside_has_a_lock_of_its_own(other_process, tmp_path):
    (tmp_path / "labels_only").mkdir()
    lock_folder(tmp_path / "labels_only")
    unlock_folder(tmp_path / "labels_only")


def test_a_folder_that_is_not_locked_may_be_unlocked(tmp_path):
    unlock_folder(tmp_path)
    assert not (tmp_path / LOCK).exists()


LEFT = [
    ".model.pt.123.part",
    ".config.json.part",
    ".metrics.csv.123.part",
    "checkpoints/.a_best.pt.7.part",
    "evaluation/.summary.json.7.part",
]
KEPT = [
    "model.pt",
    ".lock",
    ".hidden",
    "notes.part",
    "checkpoints/a_best.pt",
    "labels_only/.model.pt.5.part",
    "data/.x.part",
]


def test_only_half_written_files_of_the_run_are_removed(tmp_path):
    for name in LEFT + KEPT:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(KEPT)
