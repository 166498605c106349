"""A benchmark from its checked plan to its tables: trained, continued, or reported again."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from custom.benchmark.plan import Plan, Run
from custom.benchmark.protocol import keep_protocol, read_protocol
from custom.benchmark.published import published_data_sets
from custom.benchmark.record import (
    Record,
    describe_data,
    describe_hardware,
    merge_plan,
    read_record,
    write_record,
)
from custom.benchmark.report import write_pictures, write_report
from custom.benchmark.results import read_result
from custom.benchmark.runs import is_finished, run_all, run_folder, start_run, status_of
from custom.errors import InputError, short_reason
from custom.options import check_values
from custom.tracking import make_experiment

__all__ = ["report_again", "run_benchmark"]


def run_benchmark(
    plan: Plan,
    settings: Mapping[str, Any],
    output: Path,
    jobs: int = 1,
    experiment: str | None = None,
    published: str | None = None,
) -> int:
    """Train what is missing and write the tables; returns the exit status, 1 if any run failed.

    Args:
        plan: the benchmark.
        settings: the protocol, checked.
        output: folder for everything that is written.
        jobs: runs at once.
        experiment: MLflow experiment; None for one named after the bundle.
        published: see `published_data_sets`.

    Raises:
        InputError: the data are wrong, or the folder belongs to another benchmark.
    """
    # Errors are found before anything is written.
    published_data_sets("", "", 0, published)
    todo = [run for run in plan.runs if not is_finished(output, run)]
    data = describe_data(plan, check=bool(todo))
    with _locked(output):
        return _run(plan, settings, output, jobs, experiment, published, data)


def report_again(output: Path, published: str | None = None) -> int:
    """Write tables and pictures again; returns the exit status, 1 if any run has no result.

    Raises:
        InputError: there is no benchmark.
    """
    record = read_record(output)
    if record is None:
        raise InputError(f"--output {output} holds no benchmark; leave --report-only out to start one")
    data_sets = _published(record, published)
    settings = read_protocol(output / "protocol.json")
    with _locked(output):
        return _finish(output, record, settings, record.plan, data_sets)


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    lock = FileLock(output / ".lock")
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another benchmark is writing to {output}: wait for it, or give another --output") from error
    except OSError as error:
        raise InputError(f"--output {output} cannot be written ({error.strerror}); give another folder") from error
    try:
        yield
    finally:
        lock.release()


def _run(
    plan: Plan,
    settings: Mapping[str, Any],
    output: Path,
    jobs: int,
    experiment: str | None,
    asked_for: str | None,
    data: dict[str, Any],
) -> int:
    todo = [run for run in plan.runs if not is_finished(output, run)]
    hardware = [describe_hardware(settings, jobs)] if todo else []
    record = merge_plan(read_record(output), plan, data, hardware, output)
    published = _published(record, asked_for)
    keep_protocol(settings, output)
    write_record(record, output)
    print(f"{len(plan.runs)} runs, {len(plan.runs) - len(todo)} of them finished before; everything goes to {output}")
    tracking = _prepare_tracking(experiment or f"benchmark_{plan.bundle.name}", settings, output)

    def after_each(run: Run) -> str:
        write_report(output, record, settings, published)
        return _outcome(run, output)

    write_report(output, record, settings, published)
    previous = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        run_all(
            todo,
            lambda run: start_run(plan, run, settings, tracking, output, jobs),
            output,
            jobs,
            after_each,
            _report,
        )
    except KeyboardInterrupt:
        write_report(output, record, settings, published)
        _report(f"stopped; the same command continues from here. So far: {output / 'table.md'}")
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)
    return _finish(output, record, settings, plan, published)


def _finish(output: Path, record: Record, settings: Mapping[str, Any], plan: Plan, published: list[str]) -> int:
    """Write everything, print where it is, and return the exit status for the runs of `plan`."""
    write_report(output, record, settings, published)
    try:
        write_pictures(output, record, settings)
    except Exception as error:  # the numbers are written, and pictures can be made again
        _report(f"no pictures: {type(error).__name__}: {short_reason(error, 300)}")
    print((output / "table.md").read_text(encoding="utf-8").split("\n## ")[0])
    print(f"\nwritten to {output}: table.md, table.csv, runs.csv, dice_by_labels.png, pictures.png")
    missing = [run for run in plan.runs if not is_finished(output, run)]
    if missing:
        _report(f"{len(missing)} of {len(plan.runs)} runs have no result; the same command tries them again")
    return 1 if missing else 0


def _published(record: Record, asked_for: str | None) -> list[str]:
    return published_data_sets(record.plan.bundle.name, record.data["name"], record.data["num_classes"], asked_for)


def _prepare_tracking(experiment: str, settings: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """Settings of tracking for the runs: one experiment in one database, which is made here, before they start."""
    if not check_values("train", {"mlflow": settings.get("mlflow", True)})["mlflow"]:
        return {}
    uri = make_experiment(output / "mlruns.db", experiment)
    return {"tracker#experiment_name": experiment, "tracker#tracking_uri": uri}


def _outcome(run: Run, output: Path) -> str:
    if not is_finished(output, run):
        return status_of(output, run)
    return f"Dice {100 * (read_result(run_folder(output, run)).scores['dice'] or 0):.2f} %"


def _report(line: str) -> None:
    print(line, flush=True)


def _as_interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt
