"""Compare methods on a bundle: same data, schedule, selection and test for all, one table at the end.

python -m custom.benchmark --bundle bundles/semigda_busi --dataset_dir DIR --methods semigda,supervised,ua_mt \
    --labels 10,30 --seeds 0,1,2 --output DIR
python -m custom.benchmark --output DIR --report-only        tables and pictures again, from what is there

Every method is trained with every labelled subset of the datalist ("10" means its subset "10%") and every seed, each
run in a process of its own. What all runs share is said in one file, protocol.json beside this module; `--protocol
FILE` replaces it, and any further `--KEY VALUE` changes one key of train.json in it for all runs, as in
`--image_size 64`. What a method's own overlay sets stays the method's, except for image size, epochs and batches.

OUTPUT then holds table.md, table.csv, runs.csv, dice_by_labels.png, pictures.png, protocol.json, runs/ (one folder and
one .log a run) and mlruns.db. The same command goes on where it was stopped; with more methods, labels or seeds it adds
to what is there. The exit status is 1 if any run failed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from custom.benchmark.plan import Plan, Run, make_plan, split_list
from custom.benchmark.protocol import (
    DEFAULT_PROTOCOL,
    check_protocol,
    keep_protocol,
    parse_overrides,
    read_protocol,
)
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
from custom.errors import InputError, show_input_errors_in_one_line
from custom.handlers.tracking import make_experiment
from custom.options import TrainingOptions, check_values

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    show_input_errors_in_one_line()
    options, rest = _parser().parse_known_args(arguments)
    output = Path(options.output).absolute()
    for name, folder in (("output", output), ("bundle", options.bundle)):
        if any(character in str(folder) for character in "[]'\","):
            raise InputError(f"--{name} {folder}: MONAI takes no brackets, quotes and commas in it; give another path")
    lock = FileLock(output / ".lock")
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another benchmark is writing to {output}: wait for it, or give another --output") from error
    except OSError as error:
        raise InputError(f"--output {output} cannot be written ({error.strerror}); give another folder") from error
    try:
        return _report(options, rest, output) if options.report_only else _run(options, rest, output)
    finally:
        lock.release()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m custom.benchmark",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--bundle", help="folder of the bundle")
    parser.add_argument("--dataset_dir", help="folder of the data")
    parser.add_argument("--datalist", help="datalist (default: datalist.json in dataset_dir)")
    parser.add_argument("--methods", help="semigda and names of configs/methods, with commas between")
    parser.add_argument("--labels", help="labelled subsets of the datalist: 10,30 for 10%%,30%%; all")
    parser.add_argument("--seeds", default="0,1,2", help="default: 0,1,2")
    parser.add_argument("--output", required=True, help="folder for everything that is written")
    parser.add_argument("--protocol", default=DEFAULT_PROTOCOL, help="settings of all runs, instead of protocol.json")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (default: 1)")
    parser.add_argument("--experiment", help="MLflow experiment (default: benchmark_BUNDLE)")
    parser.add_argument(
        "--published", help="data set whose published numbers are shown, or none (default: the bundle's)"
    )
    parser.add_argument("--report-only", "--report_only", action="store_true", help="train nothing")
    return parser


def _run(options: argparse.Namespace, rest: Sequence[str], output: Path) -> int:
    for name in ("bundle", "dataset_dir", "methods", "labels"):
        if not getattr(options, name):
            raise InputError(f"--{name} is missing; see --help")
    if options.jobs < 1:
        raise InputError(f"--jobs {options.jobs}: give a number of at least 1")
    plan = make_plan(
        options.bundle,
        options.dataset_dir,
        split_list(options.methods),
        split_list(options.labels),
        split_list(options.seeds),
        options.datalist,
    )
    overrides = parse_overrides(rest)
    settings = {**read_protocol(options.protocol), **overrides}
    check_protocol(settings, plan, overrides)
    todo = [run for run in plan.runs if not is_finished(output, run)]
    data = describe_data(plan, settings, check=bool(todo))
    hardware = [describe_hardware(settings, options.jobs)] if todo else []
    record = merge_plan(read_record(output), plan, data, hardware, output)
    published = _published(record, options.published)
    keep_protocol(settings, output)
    write_record(record, output)
    print(f"{len(plan.runs)} runs, {len(plan.runs) - len(todo)} of them finished before; everything goes to {output}")
    tracking = _prepare_tracking(options.experiment or f"benchmark_{plan.bundle.name}", settings, output)

    def after_each(run: Run) -> str:
        write_report(output, record, settings, published)
        return _outcome(run, output)

    write_report(output, record, settings, published)
    previous = signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        run_all(
            todo,
            lambda run: start_run(plan, run, settings, tracking, output, options.jobs),
            output,
            options.jobs,
            after_each,
            _say,
        )
    except KeyboardInterrupt:
        write_report(output, record, settings, published)
        _say(f"stopped; the same command goes on from here. So far: {output / 'table.md'}")
        return 130
    finally:
        signal.signal(signal.SIGTERM, previous)
    return _finish(output, record, settings, plan, published)


def _report(options: argparse.Namespace, rest: Sequence[str], output: Path) -> int:
    if rest:
        raise InputError(f"{rest[0]}: with --report-only the settings are those in {output / 'protocol.json'}")
    record = read_record(output)
    if record is None:
        raise InputError(f"--output {output} holds no benchmark; leave --report-only out to start one")
    published = _published(record, options.published)
    settings = read_protocol(output / "protocol.json")
    return _finish(output, record, settings, record.plan, published)


def _finish(output: Path, record: Record, settings: dict[str, Any], plan: Plan, published: list[str]) -> int:
    """Write everything, say where it is, and give the exit status for the runs of `plan`."""
    write_report(output, record, settings, published)
    try:
        write_pictures(output, record, settings)
    except Exception as error:  # the numbers are written, and pictures can be made again
        _say(f"no pictures: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    print((output / "table.md").read_text(encoding="utf-8").split("\n## ")[0])
    print(f"\nwritten to {output}: table.md, table.csv, runs.csv, dice_by_labels.png, pictures.png")
    missing = [run for run in plan.runs if not is_finished(output, run)]
    if missing:
        _say(f"{len(missing)} of {len(plan.runs)} runs have no result; the same command tries them again")
    return 1 if missing else 0


def _published(record: Record, asked_for: str | None) -> list[str]:
    return published_data_sets(record.plan.bundle.name, record.data["name"], record.data["num_classes"], asked_for)


def _prepare_tracking(experiment: str, settings: dict[str, Any], output: Path) -> dict[str, Any]:
    """Settings of tracking for the runs: one experiment in one database, which is made here, before they start."""
    if not check_values(TrainingOptions, {"mlflow": settings.get("mlflow", True)})["mlflow"]:
        return {}
    uri = make_experiment(output / "mlruns.db", experiment)
    return {"mlflow_experiment": experiment, "tracker#tracking_uri": uri}


def _outcome(run: Run, output: Path) -> str:
    if not is_finished(output, run):
        return status_of(output, run)
    return f"Dice {100 * (read_result(run_folder(output, run)).scores['dice'] or 0):.2f} %"


def _say(line: str) -> None:
    print(line, flush=True)


def _as_interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
