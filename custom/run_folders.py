"""Where a run writes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from custom.errors import InputError, show_input_errors_in_one_line
from custom.files import write_whole
from custom.options import check_name, find_running
from custom.processes import on_first_process, refuse_strangers

__all__ = ["run_folder", "start"]


def run_folder(runs_dir: str | os.PathLike, run_name: str, resume: bool = False) -> str:
    """Folder of a run: `runs_dir/run_name`, with -2, -3, ... appended where that name is taken.

    With `resume` the newest folder of the name, so that the same command with `--resume true` goes on. Under several
    processes the first one chooses for all.

    Raises:
        InputError: `run_name` is no plain name of a folder, or there is nothing to resume.
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
    number = max(numbers, default=0) + 1
    return str(runs_dir / (run_name if number == 1 else f"{run_name}-{number}"))


def start(output_dir: str | os.PathLike) -> None:
    """Make the output folder of a bundle command.

    Writes `config.json`, the configuration with all overlays and overrides, into the folder.

    Raises:
        InputError: a folder that cannot be written, or several processes without the overlay for them.
    """
    show_input_errors_in_one_line()
    refuse_strangers()
    on_first_process(_start, Path(output_dir))


def _start(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "config.json", json.dumps(_running_configuration(), indent=1, default=str).encode())
    except OSError as error:
        raise InputError(f"output_dir {folder}: cannot be written ({error.strerror}); give --output_dir") from error


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
