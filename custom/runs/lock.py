"""One process at a time works in a run folder."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
from pathlib import Path

from filelock import FileLock, Timeout

from custom.errors import InputError
from custom.files import is_partial

__all__ = ["LOCK", "lock_folder", "remove_leftovers", "unlock_folder"]

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of the lock file in a folder."""

_OWN_FOLDERS = (".", "checkpoints", "evaluation", "first_stage", "panels")

_held: dict[Path, FileLock] = {}
_process = os.getpid()


def lock_folder(folder: str | os.PathLike[str]) -> None:
    """Keep other processes out of `folder` until `unlock_folder` or the end of this process, however it ends.

    A process may lock a folder again that it has locked.

    Raises:
        InputError: another process works in the folder.
        OSError: the lock file cannot be made.
    """
    path = Path(folder).resolve()
    if path in _held and _held[path].is_locked:
        return
    lock = FileLock(path / LOCK, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{folder} is in use: another process works in it; wait for its end, or start another run_name"
        ) from error
    except NotImplementedError:  # a file system without locks
        logger.warning("%s cannot be locked: do not start a second process in it", folder)
        return
    _held[path] = lock


def unlock_folder(folder: str | os.PathLike[str]) -> None:
    """Let other processes into a folder that this one has locked; nothing happens to any other."""
    lock = _held.pop(Path(folder).resolve(), None)
    if lock is not None:
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is held; who waits for it notices that it is gone
        lock.release()


@atexit.register
def _unlock_all() -> None:
    """Leave no lock files behind, except by a crash."""
    for folder in list(_held) if os.getpid() == _process else ():
        with contextlib.suppress(OSError):
            unlock_folder(folder)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove the half-written files that a killed run left in its folder, which must be locked."""
    for name in _OWN_FOLDERS:
        inside = Path(folder) / name
        for path in inside.iterdir() if inside.is_dir() else ():
            if is_partial(path) and path.is_file():
                path.unlink(missing_ok=True)
