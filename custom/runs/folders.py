"""Where a run writes."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

from custom.error_hook import show_input_errors_in_one_line
from custom.errors import InputError
from custom.files import write_whole
from custom.options import check_name, find_running
from custom.processes import on_first_process, refuse_unjoined_processes
from custom.runs.lock import LOCK, lock_folder, remove_leftovers, unlock_folder
from custom.runs.resumed_options import check_resumed_options

__all__ = ["keep", "run_folder", "start"]

_made: set[Path] = set()  # folders that this process made and in which no work is kept yet
_process = os.getpid()


def run_folder(runs_dir: str | os.PathLike, run_name: str, resume: bool = False) -> str:
    """Make the folder of a run: `runs_dir/run_name`, with -2, -3, ... appended where that name is taken.

    No two commands get the same folder. One that ends before it has written anything of its own takes its folder away.

    With `resume` the newest folder of the name, so that the same command with `--resume true` continues. Under several
    processes the first one chooses for all.

    Raises:
        InputError: `run_name` is no plain name of a folder, there is nothing to resume, or the folder cannot be made.
    """
    return on_first_process(_choose_folder, Path(runs_dir), check_name("run_name", run_name), resume)


def _choose_folder(runs_dir: Path, run_name: str, resume: bool) -> str:
    pattern = re.compile(re.escape(run_name) + r"(?:-(\d+))?$")
    numbers = {}
    for entry in runs_dir.iterdir() if runs_dir.is_dir() else ():
        match = pattern.match(entry.name)
        if match:
            numbers[int(match.group(1) or 1)] = entry
    if resume:
        if not numbers:
            raise InputError(f"resume: no run named {run_name!r} in {runs_dir}; leave --resume out to start one")
        return str(numbers[max(numbers)])
    return str(_make_folder(runs_dir, run_name, max(numbers, default=0) + 1))


def _make_folder(runs_dir: Path, run_name: str, number: int) -> Path:
    """The first free folder from `number` on; making it is what takes the name."""
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        while True:
            folder = runs_dir / (run_name if number == 1 else f"{run_name}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                _made.add(folder)
                return folder
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{runs_dir} / {run_name!r}: cannot be made ({reason}); give --runs_dir or --run_name"
        ) from error


def keep(folder: str | os.PathLike) -> None:
    """Keep a run's folder from here on, even if nothing more gets into it."""
    _made.discard(Path(folder))


@atexit.register
def _remove_unused() -> None:
    """Take away the folders that hold no work: a refused command does not shift the number of the next run."""
    for folder in _made if os.getpid() == _process else ():
        with contextlib.suppress(OSError):
            if {path.name for path in folder.iterdir()} <= {"config.json", LOCK}:
                unlock_folder(folder)
                for path in folder.iterdir():
                    path.unlink()
                folder.rmdir()


def start(output_dir: str | os.PathLike) -> None:
    """Make the output folder of a bundle command.

    Writes `config.json`, the configuration with all overlays and overrides, into the folder. Until this process ends
    or the run is done, no other process may start in the folder.

    Raises:
        InputError: a folder that cannot be written or that another process uses, a resumed run with other options than
            its own, or several processes without the overlay for them.
    """
    show_input_errors_in_one_line()
    refuse_unjoined_processes()
    on_first_process(_start, Path(output_dir))


def _start(folder: Path) -> None:
    configuration = _running_configuration()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder not in _made or "resume" in configuration:  # else no other command can get it
            lock_folder(folder)
        if str(configuration.get("resume")).lower() == "true":
            _check_resumed_options(folder, configuration)
        remove_leftovers(folder)
        write_whole(folder / "config.json", json.dumps(configuration, indent=1, default=str).encode())
    except OSError as error:
        raise InputError(f"output_dir {folder}: cannot be written ({error.strerror}); give --output_dir") from error


def _check_resumed_options(folder: Path, configuration: dict[str, Any]) -> None:
    try:
        check_resumed_options(folder / "config.json", configuration)
    except InputError:
        unlock_folder(folder)
        raise


def _running_configuration() -> dict[str, Any]:
    """The configuration of the workflow that is evaluating this expression; empty outside of one."""
    running = find_running()
    if running is None:
        return {}
    parser = running.workflow.parser
    configuration = {key: value for key, value in parser.get().items() if key != "_meta_"}
    if "bundle_root" in configuration:  # follows from the place of the file, and config.json lies elsewhere
        configuration["bundle_root"] = os.path.abspath(parser.get_parsed_content("bundle_root"))
    return configuration
