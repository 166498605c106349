"""Results in the folder of a run: scores of every test image, training time, memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom.errors import InputError
from custom.tables import read_csv

__all__ = ["METRICS", "Result", "read_result"]

METRICS = ("dice", "iou", "hd95")


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        folder: the run's folder.
        branch: name of the model's prediction, the first of its branches.
        details: how the run was made, as `summary.json` states it.
        scores: metric -> mean over the test images: "dice", "iou" [shares], "hd95" [pixels], with more than two
            classes also "dice_class_1" and so on, with named test sets "dice_set_NAME"; None where no image has it.
        dice_by_image: file -> Dice.
        training_seconds: sum over all epochs of all stages, those before a restart included.
        peak_memory_mib: most memory held; None where it could not be known.
    """

    folder: Path
    branch: str
    details: dict[str, Any]
    scores: dict[str, float | None]
    dice_by_image: dict[str, float]
    training_seconds: float
    peak_memory_mib: float | None


def read_result(folder: Path) -> Result:
    """Read the folder of a finished run.

    Raises:
        InputError: a file is missing or damaged.
    """
    try:
        return _read(folder)
    except (OSError, ValueError, KeyError, StopIteration) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{folder}: its results cannot be read ({reason}); delete the folder to train again"
        ) from error


def _read(folder: Path) -> Result:
    summary = json.loads((folder / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    branch, statistics = next(iter(summary["branches"].items()))
    scores = {name: values["mean"] for name, values in statistics.items() if name.startswith(METRICS)}
    for name, part in summary.get("sets", {}).items():
        scores[f"dice_set_{name}"] = part["branches"][branch]["dice"]["mean"]
    images = read_csv(folder / "evaluation" / "per_image.csv")
    dice_by_image = {row["file"]: float(row[f"{branch}.dice"]) for row in images}
    figures = [(row["name"], float(row["value"])) for row in read_csv(folder / "metrics.csv")]
    memory = [value for name, value in figures if name == "peak_memory_mib"]
    return Result(
        folder=folder,
        branch=branch,
        details=summary["details"],
        scores=scores,
        dice_by_image=dice_by_image,
        training_seconds=sum(value for name, value in figures if name == "epoch_seconds"),
        peak_memory_mib=max(memory, default=None),
    )
