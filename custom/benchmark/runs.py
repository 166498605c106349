"""Training runs in processes of their own: started, watched, stopped and continued."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import custom
from custom.benchmark.methods import method_files, read_method, shared_settings
from custom.benchmark.plan import Plan, Run
from custom.files import write_whole

__all__ = ["is_finished", "run_all", "run_folder", "start_run", "status_of"]

PATIENCE = 20.0  # seconds from ctrl-C until a run that has not closed its files is ended
ERROR_LENGTH = 300


def run_folder(output: Path, run: Run) -> Path:
    """Folder of a run."""
    return output / "runs" / run.name


def is_finished(output: Path, run: Run) -> bool:
    """Whether the run has been trained and evaluated."""
    return (run_folder(output, run) / "finished.json").is_file()


def status_of(output: Path, run: Run) -> str:
    """`finished`, `failed: <why>`, `unfinished` or `not run`."""
    if is_finished(output, run):
        return "finished"
    failure = _failure_file(output, run)
    if failure.is_file():
        return f"failed: {failure.read_text(encoding='utf-8')}"
    return "unfinished" if run_folder(output, run).is_dir() else "not run"


def start_run(
    plan: Plan, run: Run, settings: Mapping[str, Any], tracking: Mapping[str, Any], output: Path, jobs: int
) -> subprocess.Popen:
    """Start a training, or continue it if its folder is there.

    All its settings lie in `runs/<name>.json`, the last of its overlays; its output is added to `runs/<name>.log`.

    Args:
        plan: the benchmark.
        run: which of its runs.
        settings: the protocol.
        tracking: settings of experiment tracking.
        output: folder of the benchmark.
        jobs: how many runs share the processor.
    """
    runs_dir = output / "runs"
    runs_dir.mkdir(parents=True, exist_ok=True)
    _failure_file(output, run).unlink(missing_ok=True)
    overlay = runs_dir / f"{run.name}.json"
    of_this_run = {
        "bundle_root": str(plan.bundle),
        "dataset_dir": str(plan.dataset_dir),
        "datalist": str(plan.datalist),
        "labelled": run.labels,
        "seed": run.seed,
        "runs_dir": str(runs_dir),
        "run_name": run.name,
        "resume": run_folder(output, run).is_dir(),
        "check_data": False,
        **tracking,
    }
    shared = shared_settings(settings, read_method(plan.bundle, run.method))
    write_whole(overlay, json.dumps({**shared, **of_this_run}, indent=1).encode())
    files = [str(file) for file in (*method_files(plan.bundle, run.method), overlay)]
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(files)]
    return _start_process(command, runs_dir / f"{run.name}.log", _environment(jobs))


def run_all(
    runs: Sequence[Run],
    start: Callable[[Run], subprocess.Popen],
    output: Path,
    jobs: int = 1,
    after_each: Callable[[Run], str] = lambda run: "",
    report: Callable[[str], None] = print,
) -> None:
    """Train runs, several at once. A failed run does not stop the others.

    Args:
        runs: what is left to do.
        start: starts one, see `start_run`.
        output: folder of the benchmark.
        jobs: how many at once.
        after_each: called after every run; returns its result in words.
        report: called with one line when a run starts and when it ends.
    """
    waiting = deque(enumerate(runs, start=1))
    active: dict[int, _Active] = {}
    seconds: dict[str, list[float]] = {}
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                number, run = waiting.popleft()
                continues = run_folder(output, run).is_dir()
                report(f"[{number}/{len(runs)}] {run.title}: {'continues' if continues else 'starts'}")
                log = output / "runs" / f"{run.name}.log"
                begin = log.stat().st_size if log.is_file() else 0
                active[number] = _Active(run, start(run), begin)
            ended = [number for number, each in active.items() if each.process.poll() is not None]
            for number in ended:
                each = active.pop(number)
                seconds.setdefault(each.run.method, []).append(each.seconds)
                _record_failure(output, each)
                words = after_each(each.run)
                rest = [*(run for _, run in waiting), *(other.run for other in active.values())]
                left = _time_left(seconds, rest, jobs)
                report(f"[{number}/{len(runs)}] {each.run.title}: {words}, {format_seconds(each.seconds)}{left}")
            if not ended:
                time.sleep(0.1)
    finally:
        _stop([each.process for each in active.values()])


class _Active:
    """A run that is being trained."""

    def __init__(self, run: Run, process: subprocess.Popen, log_begin: int) -> None:
        self.run = run
        self.process = process
        self.log_begin = log_begin
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started


def format_seconds(seconds: float) -> str:
    """A duration as a text: 42 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _time_left(seconds: Mapping[str, Sequence[float]], rest: Sequence[Run], jobs: int) -> str:
    """The expected time of further runs, each as long as those of its method so far, or of all methods."""
    if not rest:
        return ""
    overall = mean(value for values in seconds.values() for value in values)
    total = sum(mean(seconds.get(run.method, [overall])) for run in rest)
    return f"; about {format_seconds(total / jobs)} left for {len(rest)} more"


def _start_process(command: list[str], log: Path, environment: dict[str, str]) -> subprocess.Popen:
    # In a session of its own: ctrl-C then reaches a run only through `_stop`.
    with log.open("ab") as file:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, start_new_session=True
        )


def _environment(jobs: int) -> dict[str, str]:
    """This process's environment, with `custom` importable and the cores shared between the jobs."""
    environment = dict(os.environ)
    package = str(Path(custom.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, environment.get("PYTHONPATH")]))
    if jobs > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    return environment


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    """End processes: first by a signal on which they close their files, then without waiting."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.poll() is None:
                process.send_signal(sign)
        deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(KeyboardInterrupt):  # ctrl-C again: do not wait
            while time.monotonic() < deadline and any(process.poll() is None for process in processes):
                time.sleep(0.05)


def _record_failure(output: Path, ended: _Active) -> None:
    if is_finished(output, ended.run):
        return
    log = output / "runs" / f"{ended.run.name}.log"
    with log.open("rb") as file:
        file.seek(ended.log_begin)
        text = file.read().decode(errors="replace")
    write_whole(_failure_file(output, ended.run), find_error(text, ended.process.returncode).encode())


def find_error(text: str, status: int) -> str:
    """The line with the reason, in the output of a failed run.

    Args:
        text: the output.
        status: its exit status; negative for the signal that ended it.
    """
    if status < 0:
        name = signal.Signals(-status).name
        return f"ended by {name}" + (", as happens when memory runs out" if name == "SIGKILL" else "")
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    shown = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt|Exit)\b", line)]
    return (shown or raised or lines or [f"exit status {status}"])[-1][:ERROR_LENGTH]


def _failure_file(output: Path, run: Run) -> Path:
    return output / "runs" / f"{run.name}.failed.txt"
