"""Tables, plot and pictures of a benchmark, written again from the files of the runs whenever one ends."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom.benchmark.costs import Cost, kept_cost
from custom.benchmark.methods import Method, read_method, shared_settings
from custom.benchmark.pictures import draw_pictures
from custom.benchmark.plan import Run
from custom.benchmark.plot import draw_dice_by_labels
from custom.benchmark.protocol import read_base
from custom.benchmark.published import published_section
from custom.benchmark.record import Record
from custom.benchmark.results import Result, read_result
from custom.benchmark.runs import is_finished, run_folder, status_of
from custom.benchmark.table import Row, make_rows, method_table, row_values, run_values
from custom.command_line import is_evaluated
from custom.files import write_whole
from custom.tables import markdown_table, to_csv

__all__ = ["write_pictures", "write_report"]

logger = logging.getLogger("custom.benchmark")


def write_report(output: Path, record: Record, settings: Mapping[str, Any], published: Sequence[str] = ()) -> list[Row]:
    """Write `table.md`, `table.csv`, `runs.csv` and, with any result, `dice_by_labels.png`.

    Args:
        output: folder of the benchmark.
        record: the benchmark.
        settings: the protocol.
        published: data sets whose published numbers are shown below the results.

    Returns:
        The rows of the table.
    """
    plan = record.plan
    statuses = {run: status_of(output, run) for run in plan.runs}
    results = {run: read_result(run_folder(output, run)) for run in plan.runs if is_finished(output, run)}
    problems = {run: status for run, status in statuses.items() if run not in results}
    rows = make_rows(plan, results, problems)
    for row in rows:
        for result in list(row.results.values())[:1]:
            row.cost = _cost(row.method, result, output)
    labelled = record.data["labelled"]
    methods = [read_method(plan.bundle, name) for name in plan.methods]
    parts = [
        f"# {plan.bundle.name}: {len(plan.methods)} methods compared",
        _facts(record, methods, settings, results),
        method_table(rows, labelled),
        _explanation(),
        _sets(rows),
        _failures(problems),
        _settings(methods, settings),
        published_section(list(published)),
    ]
    write_whole(output / "table.md", ("\n\n".join(filter(None, parts)) + "\n").encode())
    write_whole(output / "table.csv", to_csv(row_values(row, labelled[row.labels]) for row in rows))
    write_whole(output / "runs.csv", to_csv(run_values(run, statuses[run], results.get(run)) for run in plan.runs))
    title = f"{plan.bundle.name}, {_plural(len(plan.seeds), 'seed')}"
    draw_dice_by_labels(rows, labelled, output / "dice_by_labels.png", title)
    return rows


def write_pictures(output: Path, record: Record, settings: Mapping[str, Any]) -> Path | None:
    """Write `pictures.png`, of the first subset and seed that most methods have finished; None if no run has."""
    plan = record.plan
    finished = {
        (labels, seed): {m: run for m in plan.methods if is_finished(output, run := Run(m, labels, seed))}
        for labels in plan.labels
        for seed in plan.seeds
    }
    (labels, seed), runs = max(finished.items(), key=lambda item: len(item[1]))
    if not runs:
        return None
    results = {method: read_result(run_folder(output, run)) for method, run in runs.items()}
    path = output / "pictures.png"
    title = f"{plan.bundle.name}, {labels} labelled ({record.data['labelled'][labels]} images), seed {seed}"
    draw_pictures(results, plan.bundle, plan.dataset_dir, plan.datalist, settings, path, title)
    return path


def _cost(method: str, result: Result, output: Path) -> Cost | None:
    """The cost of a method's network; None with a warning where it cannot be counted."""
    try:
        return kept_cost(method, result.folder / "model.pt", result.details["image_size"], output)
    except Exception as error:
        logger.warning("%s: parameters and GMACs cannot be counted (%s: %s)", method, type(error).__name__, error)
        return None


def _facts(
    record: Record, methods: Sequence[Method], settings: Mapping[str, Any], results: Mapping[Run, Result]
) -> str:
    data = record.data
    details = [result.details for result in results.values()]
    first_stages = {each["first_stage"] for each in details} - {"none"}
    labelled = ", ".join(f"{name}: {count}" for name, count in data["labelled"].items())
    common = {**read_base(record.plan.bundle), **settings}
    aligned = [method.name for method in methods if method.is_aligned]
    schedules = {
        stage: f"{common[f'{stage}_epochs']} epochs of {common[f'{stage}_labelled_batch']} labelled + "
        f"{common[f'{stage}_unlabelled_batch']} unlabelled images"
        for stage in ("alignment", "segmentation")
    }
    facts = {
        "bundle": record.plan.bundle.name,
        "data": f"{data['name'] or record.plan.dataset_dir.name}, fingerprint `{data['fingerprint']}`, "
        f"{data['num_classes']} classes with the background",
        "images": f"{data['training']} for training, {data['validation']} for validation, {data['test']} for test",
        "labelled images": labelled,
        "seeds": ", ".join(map(str, record.seeds)),
        "image size": f"{common['image_size']} pixels",
        "schedule": f"{schedules['segmentation']}; an epoch passes the labelled images once",
        f"before that, {' and '.join(aligned)}": f"alignment, {schedules['alignment']}" if aligned else "",
        "preset": ", ".join(sorted({each["preset"] for each in details})),
        "first stage (SemiGDA)": ", ".join(sorted(first_stages)),
        "best weights": "highest validation Dice",
        "hardware": "; ".join(record.hardware),
    }
    return "\n".join(f"* {name}: {value}" for name, value in facts.items() if value)


def _explanation() -> str:
    return (
        "Dice, IoU and HD95: mean over the test images (and foreground classes), then mean ± standard deviation over "
        "seeds where there are two or more. The difference is in Dice points to the best other method with the same "
        "labels, with a paired 95 % bootstrap interval over test images, scores averaged over the seeds that both "
        "have. Parameters and GMACs (convolutions and matrix products, one image) are those of the network that "
        "predicts; training time is the mean of a run's epochs without validation, memory the highest of all runs."
    )


def _sets(rows: Sequence[Row]) -> str:
    """Dice of each named test set; empty where test images name none."""
    names = list(dict.fromkeys(n for row in rows for r in row.results.values() for n in r.scores if "_set_" in n))
    if not names:
        return ""
    lines = [["labelled", "method", *(name.removeprefix("dice_set_") for name in names)]]
    for row in rows:
        if row.results:
            means = [row.mean(name) for name in names]
            lines.append([row.labels, row.method, *("–" if m is None else f"{100 * m:.2f}" for m in means)])
    return "## Dice % of each test set\n\n" + markdown_table(lines[0], lines[1:])


def _failures(problems: Mapping[Run, str]) -> str:
    failed = [f"* `{run.name}`: {text} (`runs/{run.name}.log`)" for run, text in problems.items() if "failed" in text]
    return "## Failed runs\n\n" + "\n".join(failed) if failed else ""


def _settings(methods: Sequence[Method], settings: Mapping[str, Any]) -> str:
    """The protocol, and what the overlay of each method sets."""
    lines = ["## Settings", "Of all methods (`protocol.json`): " + _listed(settings) + "."]
    for method in methods:
        shared = shared_settings(settings, method)
        own = {key: value for key, value in method.own.items() if key not in shared and _is_listed(key, value)}
        if own:
            lines.append(f"Of {method.name} itself: {_listed(own)}.")
    lines.append(
        "Everything else is as in the bundle's `train.yaml` and the methods' overlays in `custom/configs/methods`; "
        "`runs/*/config.json` holds all settings of each run."
    )
    return "\n\n".join(lines)


def _is_listed(key: str, value: Any) -> bool:
    """Whether it is a plain setting of a method, and not its name, a class, a part, a list or an expression."""
    return key != "method" and not key.endswith("_target_") and not isinstance(value, list) and not is_evaluated(value)


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}` {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items())


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")
