"""Rows of the comparison: one per method and label count, over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from custom.benchmark.costs import Cost
from custom.benchmark.plan import Plan, Run
from custom.benchmark.results import METRICS, Result
from custom.benchmark.runs import format_seconds
from custom.metrics import paired_bootstrap_interval
from custom.tables import markdown_table

__all__ = ["Difference", "Row", "compare", "make_rows", "method_table", "row_values", "run_values"]


@dataclass(frozen=True)
class Difference:
    """Dice of a method minus that of a peer, with its 95 % bootstrap interval over test images; shares of 1."""

    peer: str
    value: float
    low: float
    high: float


@dataclass
class Row:
    """A method with one labelled subset.

    Attributes:
        labels: name of the subset.
        method: name of the method.
        results: seed -> finished run.
        problems: seed -> why there is no result, see `status_of`.
        cost: of its network; None before a run is finished.
        difference: to the best other method; None without one, or without a seed that both have.
    """

    labels: str
    method: str
    results: dict[int, Result]
    problems: dict[int, str]
    cost: Cost | None = None
    difference: Difference | None = None

    def scores(self, metric: str) -> list[float]:
        """The metric of each seed that has it."""
        return [value for result in self.results.values() if (value := result.scores.get(metric)) is not None]

    def mean(self, metric: str) -> float | None:
        """Mean of a metric over the seeds."""
        return mean(values) if (values := self.scores(metric)) else None

    def deviation(self, metric: str) -> float | None:
        """Sample standard deviation of a metric over the seeds; None with fewer than two."""
        return stdev(values) if len(values := self.scores(metric)) > 1 else None

    @property
    def training_seconds(self) -> float | None:
        """Mean training time of one run."""
        return mean(result.training_seconds for result in self.results.values()) if self.results else None

    @property
    def peak_memory_mib(self) -> float | None:
        """Peak memory of the run that took most."""
        known = [r.peak_memory_mib for r in self.results.values() if r.peak_memory_mib is not None]
        return max(known, default=None)

    @property
    def problem(self) -> str:
        """What is missing, in words; empty when every seed is there. Failures come first."""
        texts = sorted(set(self.problems.values()), key=lambda text: not text.startswith("failed"))
        if not texts:
            return ""
        if not self.results and len(texts) == 1:
            return texts[0]
        parts = [f"seed {seed} {text}" for text in texts for seed, other in self.problems.items() if other == text]
        return "; ".join(parts)


def make_rows(plan: Plan, results: Mapping[Run, Result], problems: Mapping[Run, str]) -> list[Row]:
    """Rows in the order of the plan, compared with each other.

    Args:
        plan: the benchmark.
        results: its finished runs.
        problems: why the others have no result.
    """
    rows = []
    for labels in plan.labels:
        group = []
        for method in plan.methods:
            runs = [Run(method, labels, seed) for seed in plan.seeds]
            group.append(
                Row(
                    labels,
                    method,
                    {run.seed: results[run] for run in runs if run in results},
                    {run.seed: problems[run] for run in runs if run in problems},
                )
            )
        for row in group:
            row.difference = compare(row, group)
        rows += group
    return rows


def compare(row: Row, group: Sequence[Row]) -> Difference | None:
    """The difference to the best other row of the group; for the best row, to the second best.

    Scores per image are averaged over the seeds that both have.
    """
    peers = [other for other in group if other is not row and other.mean("dice") is not None]
    if row.mean("dice") is None or not peers:
        return None
    peer = max(peers, key=lambda other: other.mean("dice"))
    seeds = sorted(row.results.keys() & peer.results.keys())
    if not seeds:
        return None
    files = sorted(set.intersection(*(set(each.results[seed].dice_by_image) for each in (row, peer) for seed in seeds)))
    own, other = (
        [mean(each.results[seed].dice_by_image[file] for seed in seeds) for file in files] for each in (row, peer)
    )
    low, high = paired_bootstrap_interval(own, other)
    return Difference(peer.method, mean(own) - mean(other), low, high)


def method_table(rows: Sequence[Row], labelled_images: Mapping[str, int]) -> str:
    """The rows as a Markdown table; Dice and IoU in per cent.

    Args:
        rows: see `make_rows`.
        labelled_images: labelled images of each subset.
    """
    head = ["labelled", "method", "runs", "Dice %", "IoU %", "HD95 px", "Dice against the best peer", "parameters M"]
    head += ["GMACs", "training", "peak memory"]
    lines = []
    for row in rows:
        planned = len(row.results) + len(row.problems)
        scales = (100, 100, 1)
        scores = [_spread(row, metric, scale) for metric, scale in zip(METRICS, scales, strict=True)]
        if row.problem:
            scores[0] = f"{scores[0]} ({row.problem})" if row.results else row.problem
        lines.append(
            [
                f"{row.labels} ({labelled_images[row.labels]})",
                row.method,
                f"{len(row.results)}/{planned}",
                *scores,
                _difference(row.difference),
                *_cost(row.cost),
                "–" if row.training_seconds is None else format_seconds(row.training_seconds),
                "–" if row.peak_memory_mib is None else f"{row.peak_memory_mib / 1024:.2f} GiB",
            ]
        )
    return markdown_table(head, lines)


def row_values(row: Row, labelled_images: int) -> dict[str, Any]:
    """The row's numbers for a CSV file; shares of 1, pixels, seconds, MiB."""
    values: dict[str, Any] = {
        "labels": row.labels,
        "labelled_images": labelled_images,
        "method": row.method,
        "runs": len(row.results),
        "runs_planned": len(row.results) + len(row.problems),
    }
    names = [*METRICS]
    for result in row.results.values():
        names += [name for name in result.scores if name not in names and name.startswith("dice_")]
    for name in names:
        values |= {name: row.mean(name), f"{name}_deviation": row.deviation(name)}
    difference = row.difference
    values |= {
        "peer": difference and difference.peer,
        "difference": difference and difference.value,
        "difference_low": difference and difference.low,
        "difference_high": difference and difference.high,
        "parameters": row.cost and row.cost.parameters,
        "trained_parameters": row.cost and row.cost.trained,
        "macs": row.cost and row.cost.macs,
        "training_seconds": row.training_seconds,
        "peak_memory_mib": row.peak_memory_mib,
        "problem": row.problem,
    }
    return values


def run_values(run: Run, status: str, result: Result | None) -> dict[str, Any]:
    """One run's numbers for a CSV file, in the units of `row_values`."""
    values: dict[str, Any] = {"labels": run.labels, "method": run.method, "seed": run.seed, "status": status}
    if result is not None:
        values |= {name: result.scores.get(name) for name in METRICS}
        values |= {name: value for name, value in result.scores.items() if name.startswith("dice_")}
        values |= {
            "test_images": len(result.dice_by_image),
            "training_seconds": result.training_seconds,
            "peak_memory_mib": result.peak_memory_mib,
        }
    return values


def _spread(row: Row, metric: str, scale: float) -> str:
    centre, deviation = row.mean(metric), row.deviation(metric)
    if centre is None:
        return "–"
    return f"{centre * scale:.2f}" + ("" if deviation is None else f" ± {deviation * scale:.2f}")


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return "–"
    value, low, high = (100 * number for number in (difference.value, difference.low, difference.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}] to {difference.peer}"


def _cost(cost: Cost | None) -> tuple[str, str]:
    if cost is None:
        return "–", "–"
    parameters = f"{cost.parameters / 1e6:.2f}"
    if cost.trained != cost.parameters:
        parameters += f" ({cost.trained / 1e6:.2f} trained)"
    return parameters, f"{cost.macs / 1e9:.2f}"
