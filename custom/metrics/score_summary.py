"""Statistics of the scores of many images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from custom.metrics.bootstrap import bootstrap_interval

__all__ = ["CONFIDENCE", "summarise_scores", "summarise_volumes"]

CONFIDENCE = 0.95


def summarise_scores(rows: Sequence[Mapping[str, Any]], branches: Sequence[str], num_classes: int) -> dict[str, Any]:
    """Statistics of each column over the images: mean, standard deviation, median and bootstrap interval of the mean.

    Args:
        rows: scores per image, see `score_image`. Where images name their "set", the branches of each set are
            summarised too.
        branches: names of the predictions, the model's own first.
        num_classes: K, with the background.

    Returns:
        "branches" and "truth"; where the rows have them "sets", "differing_share" and, with K = 2, "release". A group
        holds the statistics of each of its metrics, and the number of "images_with_one_side_empty". A statistic that
        no image has is None.
    """
    summary = {"branches": _summarise_branches(rows, branches), "truth": _summarise_group(rows, "truth")}
    if "set" in rows[0]:
        names = list(dict.fromkeys(row["set"] for row in rows))  # in the order of their first images
        sets = {name: [row for row in rows if row["set"] == name] for name in names}
        summary["sets"] = {
            name: {"images": len(part), "branches": _summarise_branches(part, branches)} for name, part in sets.items()
        }
    if "differing_share" in rows[0]:
        summary["differing_share"] = _describe([row["differing_share"] for row in rows])
    if num_classes == 2:
        summary["release"] = _summarise_group(rows, "release")
    return summary


def summarise_volumes(rows: Sequence[Mapping[str, Any]], branches: Sequence[str]) -> dict[str, Any]:
    """Statistics over the volumes, as `summarise_scores` gives them over the images.

    Args:
        rows: scores per volume, see `score_volume`.
        branches: names of the predictions.

    Returns:
        {"volumes": {"volumes": their number, "branches": statistics}}; empty without volumes.
    """
    if not rows:
        return {}
    return {"volumes": {"volumes": len(rows), "branches": _summarise_branches(rows, branches)}}


def _summarise_branches(rows: Sequence[Mapping[str, Any]], branches: Sequence[str]) -> dict[str, Any]:
    return {branch: _summarise_group(rows, branch) for branch in branches}


def _summarise_group(rows: Sequence[Mapping[str, Any]], group: str) -> dict[str, Any]:
    """Statistics of all columns `GROUP.*`; `one_side_empty` becomes a count."""
    prefix = f"{group}."
    columns = {name.removeprefix(prefix): [row[name] for row in rows] for name in rows[0] if name.startswith(prefix)}
    counts = columns.pop("one_side_empty", None)
    summary: dict[str, Any] = {name: _describe(values) for name, values in columns.items()}
    if counts is not None:
        summary["images_with_one_side_empty"] = sum(counts)
    return summary


def _describe(values: Sequence[float]) -> dict[str, float | int | None]:
    """Statistics over the images that have a value; None (in JSON null) where no image has one."""
    known = np.asarray(values, dtype=np.float64)
    known = known[~np.isnan(known)]
    low, high = bootstrap_interval(known, CONFIDENCE)
    present = known.size > 0
    return {
        "mean": float(known.mean()) if present else None,
        "standard_deviation": float(known.std()) if present else None,
        "median": float(np.median(known)) if present else None,
        "low": low if present else None,
        "high": high if present else None,
        "images": int(known.size),
    }
