"""Where a run writes, and what a command line may say."""

from __future__ import annotations

import atexit
import contextlib
import difflib
import inspect
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from monai.bundle import run as bundle_run

from custom.errors import InputError, show_input_errors_in_one_line
from custom.files import write_whole
from custom.folder_lock import LOCK, lock_folder, remove_leftovers, unlock_folder
from custom.processes import on_first_process, refuse_strangers
from custom.resumed_options import check_resumed_options

__all__ = ["check_command_line", "keep", "run_folder", "start"]

_made: set[Path] = set()  # folders that this process made and that hold nothing of worth yet
_process = os.getpid()

MONAI_EXPRESSIONS = ("initialize", "run", "finalize")  # which `monai.bundle run` evaluates of itself


def run_folder(runs_dir: str | os.PathLike, run_name: str, resume: bool = False) -> str:
    """Make the folder of a run: `runs_dir/run_name`, with -2, -3, ... appended where that name is taken.

    No two commands get the same folder. One that ends before it has written anything of its own takes its folder away.

    With `resume` the newest folder of the name, so that the same command with `--resume true` goes on. Under several
    processes the first one chooses for all.

    Raises:
        InputError: there is nothing to resume, or the folder cannot be made.
    """
    return on_first_process(_choose_folder, Path(runs_dir), run_name, resume)


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
    """First thing of every bundle command: check the command line and make the output folder.

    Writes `config.json`, the configuration with all overlays and overrides, into the folder. Until this process ends
    or the run is done, no other process may start in the folder.

    Raises:
        InputError: a mistyped key, a folder that cannot be written or that another process uses, a resumed run with
            other options than its own, or several processes without the overlay for them.
    """
    show_input_errors_in_one_line()
    refuse_strangers()
    on_first_process(_start, Path(output_dir))


def _start(folder: Path) -> None:
    check_command_line()
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
    """The configuration of the workflow that is evaluating this expression; empty outside of one.

    MONAI gives an expression no name for the configuration it belongs to, so the calling frames are searched.
    """
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, ConfigWorkflow):
            configuration = {key: value for key, value in caller.parser.get().items() if key != "_meta_"}
            if "bundle_root" in configuration:  # follows from the place of the file, and config.json lies elsewhere
                configuration["bundle_root"] = str(caller.parser.get_parsed_content("bundle_root"))
            return configuration
        frame = frame.f_back
    return {}


def check_command_line(arguments: list[str] | None = None) -> None:
    """Refuse overrides and overlay keys that nothing reads: MONAI accepts them in silence.

    A key is known if the first configuration file has it or if any configuration value refers to it.

    Args:
        arguments: the command line; None for this process's own, if it is one of `monai.bundle run`.

    Raises:
        InputError: an unknown key or run id, with the nearest known one.
    """
    if arguments is None:
        if not sys.argv or not sys.argv[0].replace("\\", "/").endswith("monai/bundle/__main__.py"):
            return
        arguments = sys.argv[1:]
    positional, options = _split(arguments)
    if "config_file" not in options or positional[:1] != ["run"]:
        return
    files = _as_list(options["config_file"])
    merged = ConfigParser(ConfigParser.load_config_files(files))
    base = ConfigParser(ConfigParser.load_config_files(files[:1]))
    referenced = set(re.findall(r"@([A-Za-z_]\w*)", json.dumps(merged.get())))
    own = set(inspect.signature(bundle_run).parameters) - {"override"}
    known = [key for key in base.get() if not key.startswith("_")]

    run_id = options.get("run_id") or (positional[1] if len(positional) > 1 else "run")
    if run_id not in merged:
        raise InputError(f"no run id {run_id!r} in {files[0]}{_nearest(run_id, known)}")
    for file in files[1:]:
        for key in ConfigParser.load_config_file(file):
            root = re.split(r"#|::", key.lstrip("+"))[0]
            is_known = root in base or root in referenced or root in MONAI_EXPRESSIONS or root.startswith("_")
            if not is_known:
                raise InputError(f"{file}: unknown key {root!r}{_nearest(root, known)}")
    for key in options:
        if key not in own and key not in merged:
            nested = [f"{parent}#{child}" for parent in known for child in _children(base[parent])]
            raise InputError(f"unknown option --{key}{_nearest(key, known + nested)}")


def _children(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return []
    return [name for key, child in value.items() for name in (key, *(f"{key}#{inner}" for inner in _children(child)))]


def _nearest(key: str, known: list[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else "; see the configuration file for what can be set"


def _split(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Positional arguments and --key value (or --key=value) options, as Fire reads them."""
    positional, options = [], {}
    index = 0
    while index < len(arguments):
        token = arguments[index]
        index += 1
        if not token.startswith("--"):
            positional.append(token)
        elif "=" in token:
            key, options[key] = token[2:].split("=", 1)[0], token.split("=", 1)[1]
        elif index < len(arguments) and not arguments[index].startswith("--"):
            options[token[2:]] = arguments[index]
            index += 1
        else:
            options[token[2:]] = "True"
    return positional, options


def _as_list(value: str) -> list[str]:
    names = re.findall(r"[^\[\]'\",\s][^\[\]'\",]*", value)
    return [name.strip() for name in names]
