"""Text tables of Dice, IoU and HD95, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from custom.tables import text_table

__all__ = ["format_summary", "format_table"]

METRICS = ("dice", "iou", "hd95")


def format_summary(summary: Mapping[str, Any]) -> str:
    """A text table of a summary: every branch, then the first branch's scores of sets, volumes and classes.

    Args:
        summary: what `summarise_scores` returns, with "num_classes".
    """
    rows = dict(summary["branches"])
    prediction, scores = next(iter(rows.items()))
    for name, part in summary.get("sets", {}).items():
        rows[f"{prediction}, {name} ({part['images']} images)"] = part["branches"][prediction]
    if "dice_own_size" in scores:
        rows[f"{prediction}, at the images' own size"] = {"dice": scores["dice_own_size"], "iou": {}, "hd95": {}}
    if "volumes" in summary:
        volumes = summary["volumes"]
        dice = volumes["branches"][prediction]["dice"]
        rows[f"{prediction}, in 3-D ({volumes['volumes']} volumes)"] = {"dice": dice, "iou": {}, "hd95": {}}
    if summary["num_classes"] > 2:
        for number in range(1, summary["num_classes"]):
            rows[f"{prediction}, class {number}"] = {metric: scores[f"{metric}_class_{number}"] for metric in METRICS}
    return format_table(rows)


def format_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A text table of Dice, IoU and HD95, each as mean [low, high].

    Args:
        rows: name of a method -> its statistics, shaped like `summary["branches"][branch]`: "dice", "iou" and "hd95",
            each with "mean", "low" and "high". A missing number shows as "-".

    Returns:
        Lines of equal width, without a newline at the end. Dice and IoU are in per cent, HD95 in pixels.

    Example:
        >>> interval = {"mean": 0.5, "low": 0.25, "high": 0.75}
        >>> distance = {"mean": 4.0, "low": 3.0, "high": 5.0}
        >>> table = format_table({"SemiGDA": {"dice": interval, "iou": interval, "hd95": distance}})
        >>> table.splitlines()[-1]
        'SemiGDA  50.00 [25.00, 75.00]  50.00 [25.00, 75.00]  4.00 [3.00, 5.00]'
    """
    body = [
        [name, *(_format_interval(row[metric], scale) for metric, scale in zip(METRICS, (100, 100, 1), strict=True))]
        for name, row in rows.items()
    ]
    return text_table(["method", "Dice %", "IoU %", "HD95 px"], body)


def _format_interval(statistics: Mapping[str, Any], scale: float) -> str:
    mean, low, high = (statistics.get(name) for name in ("mean", "low", "high"))
    if mean is None or math.isnan(mean):
        return "-"
    return f"{mean * scale:.2f} [{low * scale:.2f}, {high * scale:.2f}]"
