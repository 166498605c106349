"""The few figures of an evaluation that stand for it where there is room for a few, as in MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["main_figures"]


def main_figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Means over the images: all metrics of the model's own prediction, and the Dice of each branch and set.

    >>> from custom.metrics import main_figures
    >>> dice = {"mean": 0.5, "low": 0.4, "high": 0.6, "median": 0.5}
    >>> main_figures({"branches": {"mean": {"dice": dice}, "image_branch": {"dice": dice}}})
    {'dice': 0.5, 'dice_low': 0.4, 'dice_high': 0.6, 'image_branch': {'dice': 0.5}}

    Args:
        summary: the summary of an `EvaluationReport`.

    Returns:
        "dice", "iou", "hd95" and so on, "dice_low" and "dice_high" (its 95 % bootstrap interval), and "dice" of every
        further branch and every set under their names, and of "volumes" in 3-D. What no image has is left out.
    """
    prediction, *branches = summary["branches"]
    own = summary["branches"][prediction]
    figures: dict[str, Any] = {name: values["mean"] for name, values in own.items() if isinstance(values, Mapping)}
    figures |= {f"dice_{end}": own["dice"][end] for end in ("low", "high")}
    figures |= {branch: {"dice": summary["branches"][branch]["dice"]["mean"]} for branch in branches}
    for name, part in summary.get("sets", {}).items():
        figures[name] = {"dice": part["branches"][prediction]["dice"]["mean"]}
    if "volumes" in summary:
        figures["volumes"] = {"dice": summary["volumes"]["branches"][prediction]["dice"]["mean"]}
    return {name: value for name, value in figures.items() if value is not None}
