"""What an evaluation leaves behind: scores of every image, their summary, and a sheet of telling cases."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.metrics import compute_dice, compute_iou
from monai.utils import convert_to_tensor
from PIL import Image

from custom.drawing.pictures import case_panel, sheet, tile
from custom.errors import InputError
from custom.files import short_names, write_whole
from custom.labels.codec import LabelCodec
from custom.labels.ignored import clear_ignored, decided
from custom.metrics.bootstrap import bootstrap_interval
from custom.metrics.hausdorff import compute_hausdorff_distance_95
from custom.metrics.release import release_scores

__all__ = ["EvaluationReport", "format_summary", "format_table", "score_image"]

CONFIDENCE = 0.95
TILE_SIZE = 160


class EvaluationReport:
    """Ignite handler that scores every image of an evaluation and writes a report when it ends.

    Attach it to a MONAI `SupervisedEvaluator` with `decollate=True`, whose output items hold "image" [3, W, H] in
    [0, 1], "label" [1, W, H] with class indices, and "pred" [branches, W, H] with soft ordinal values in [0, K - 1].
    Pixels labelled `IGNORED_LABEL` enter no score. Batch items may tell the "set" they belong to. Written to
    `output_dir`, each file whole or not at all:

    * `per_image.csv`: one line an image, see `score_image` for the columns. Dice, IoU and shares are in [0, 1], HD95
      in pixels; a score that the image does not have is "nan".
    * `summary.json`: mean, standard deviation, median and bootstrap interval of each column, with the given details.
      Where items name their "set", the branches' statistics of each set besides.
    * `cases.png`: the best, median and worst images by the Dice of the first branch.

    Under several processes every process attaches it; the scores are gathered and the first process writes. Images
    that the sampler repeats to fill up the last batch count once.

    Args:
        output_dir: folder for the files; made if missing.
        num_classes: K, with the background.
        branches: one name for each channel of "pred"; the first is the model's prediction.
        title: heading of the sheet, kept in the summary too.
        best: how many of the best images the sheet shows; fewer when there are fewer than three times as many images.
        median: how many images around the median.
        worst: how many of the worst images.
        empty: HD95 of an image where only one of truth and prediction has a class: "diagonal" or "exclude", see
            `compute_hausdorff_distance_95`.
        details: what the caller knows of the run (preset, first stage, image size, split, seed, labelled images, ...),
            copied into the summary and shown on the sheet.

    Attributes:
        rows: the lines of `per_image.csv` after a run.
        summary: the content of `summary.json` after a run.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        num_classes: int = 2,
        branches: Sequence[str] = ("mean",),
        title: str = "Evaluation",
        best: int = 3,
        median: int = 3,
        worst: int = 3,
        empty: str = "diagonal",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.num_classes = num_classes
        self.branches = tuple(branches)
        self.title = title
        self.shown = {"best": best, "median": median, "worst": worst}
        self.empty = empty
        self.details = dict(details or {})
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self._cases: list[_Case] = []

    def attach(self, engine: Engine) -> None:
        """Start collecting with each run of `engine` and write when it ends."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Forget the previous run.

        Raises:
            InputError: when `output_dir` cannot be made.
        """
        self._cases = []
        try:
            self.output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"output_dir {self.output_dir} cannot be made: {error.strerror}") from error

    def collect(self, engine: Engine) -> None:
        """Score the images of one batch.

        Raises:
            InputError: when an image has no label, when its label holds other values than class indices, or when
                `branches` does not name all predictions.
        """
        for entry, item in zip(engine.state.batch, engine.state.output, strict=True):
            file = _file_of(item["image"]) or self._next_number()
            if item.get("label") is None:
                raise InputError(f"{file} has no label, so it cannot be scored: evaluate on labelled images only")
            truth = convert_to_tensor(item["label"], device="cpu", track_meta=False)[0]
            predictions = convert_to_tensor(item["pred"], device="cpu", track_meta=False).detach()
            try:
                scores = score_image(predictions, truth, self.branches, self.num_classes, self.empty)
            except InputError as error:
                raise InputError(f"{file}: {error}") from error
            labels = torch.cat([truth[None], LabelCodec.harden(predictions)])
            known = {"file": file} | ({"set": entry["set"]} if "set" in entry else {})
            self._cases.append(_Case.keep(known | scores, item["image"], labels))

    def finish(self, engine: Engine) -> None:
        """Summarise, and write the files on the first process.

        Raises:
            InputError: when no image was seen.
        """
        cases = _gather(self._cases)
        if not cases:
            raise InputError("the evaluation saw no image: check the list of the evaluated split")
        self.rows = [case.row for case in cases]
        for row, name in zip(self.rows, short_names([row["file"] for row in self.rows]), strict=True):
            row["file"] = name
        self.summary = self._summarise()
        if idist.get_rank() == 0:
            write_whole(self.output_dir / "per_image.csv", _to_csv(self.rows))
            write_whole(self.output_dir / "summary.json", json.dumps(self.summary, indent=2, default=str).encode())
            write_whole(self.output_dir / "cases.png", _to_png(self._draw_cases(cases)))

    def _next_number(self) -> str:
        """A name for an image without one: its place in the data set, of which each process sees every n-th image."""
        return f"image_{len(self._cases) * idist.get_world_size() + idist.get_rank() + 1:05d}"

    def _summarise(self) -> dict[str, Any]:
        summary: dict[str, Any] = {
            "title": self.title,
            "details": self.details,
            "images": len(self.rows),
            "num_classes": self.num_classes,
            "confidence": CONFIDENCE,
            "hd95_of_one_empty_side": self.empty,
            "branches": self._summarise_branches(self.rows),
            "truth": _summarise_group(self.rows, "truth"),
        }
        if "set" in self.rows[0]:
            sets = {name: [row for row in self.rows if row["set"] == name] for name in self._sets()}
            summary["sets"] = {
                name: {"images": len(rows), "branches": self._summarise_branches(rows)} for name, rows in sets.items()
            }
        if "disagreement" in self.rows[0]:
            summary["disagreement"] = _describe([row["disagreement"] for row in self.rows])
        if self.num_classes == 2:
            summary["release"] = _summarise_group(self.rows, "release")
        return summary

    def _summarise_branches(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {branch: _summarise_group(rows, branch) for branch in self.branches}

    def _sets(self) -> list[str]:
        """Names of the sets, in the order of their first images."""
        return list(dict.fromkeys(row["set"] for row in self.rows))

    def _draw_cases(self, cases: Sequence[_Case]) -> Image.Image:
        dice_column = f"{self.branches[0]}.dice"
        ranked = sorted(cases, key=lambda case: case.row[dice_column], reverse=True)
        panels = []
        for rank, index in _select_cases(len(ranked), **self.shown):
            case = ranked[index]
            image, labels = case.restore()
            panels.append(
                case_panel(
                    image,
                    labels[0],
                    dict(zip(self.branches, labels[1:], strict=True)),
                    self.num_classes,
                    TILE_SIZE,
                    heading=" · ".join([rank, case.row["file"], f"Dice {case.row[dice_column]:.1%}"]),
                    notes={branch: f"{case.row[f'{branch}.dice']:.1%}" for branch in self.branches},
                )
            )
        known = [f"{len(cases)} images", *(f"{key.replace('_', ' ')} {value}" for key, value in self.details.items())]
        return sheet(panels, self.title, " · ".join(known))


def score_image(
    predictions: torch.Tensor,
    truth: torch.Tensor,
    branches: Sequence[str] = ("mean",),
    num_classes: int = 2,
    empty: str = "diagonal",
) -> dict[str, float]:
    """All scores of one image.

    Args:
        predictions: soft ordinal values in [0, K - 1], [branches, W, H].
        truth: class indices, [W, H]; `IGNORED_LABEL` where the class is undecided. Such pixels are in no score: both
            sides have background there, and shares are shares of the other pixels (nan if there are none).
        branches: a name for each prediction.
        num_classes: K, with the background.
        empty: rule for HD95, see `compute_hausdorff_distance_95`.

    Returns:
        For each branch `BRANCH.dice`, `.iou` and `.hd95` (mean over foreground classes; with K > 2 also of each class,
        `.dice_class_1` and so on), `.foreground` (share of the image) and `.one_side_empty` (1 if truth or prediction
        alone lacks a class). Dice and IoU are 1 when both sides are empty. `truth.foreground`. With three or more
        branches `disagreement`, the share of pixels in which the second and the third differ. For K = 2 the released
        script's `release.dice`, `.iou` and `.row_hausdorff` of the first branch, see `custom.metrics.release`.

    Raises:
        InputError: when there is not one name a prediction, or `truth` holds other values than 0..K - 1 and
            `IGNORED_LABEL`.
    """
    if len(predictions) != len(branches):
        raise InputError(f"'pred' has {len(predictions)} channels but `branches` names {len(branches)}: name each one")
    known = decided(truth)
    labels = clear_ignored(LabelCodec.harden(predictions.float()).clamp(max=num_classes - 1), truth)
    truth = clear_ignored(truth, truth)
    y_pred, y = _one_hot(labels, num_classes), _one_hot(truth[None], num_classes).expand(len(labels), -1, -1, -1)
    if not y.any(dim=1).all():
        raise InputError(f"the label holds values other than the class indices 0 to {num_classes - 1}")

    by_class = {
        "dice": compute_dice(y_pred.float(), y.float(), include_background=False, ignore_empty=False),
        "iou": compute_iou(y_pred.float(), y.float(), include_background=False, ignore_empty=False),
        "hd95": compute_hausdorff_distance_95(y_pred, y, empty=empty),
    }
    one_side_empty = (y_pred[:, 1:].flatten(2).any(dim=2) ^ y[:, 1:].flatten(2).any(dim=2)).any(dim=1)

    scores: dict[str, float] = {}
    for index, branch in enumerate(branches):
        for metric, values in by_class.items():
            scores[f"{branch}.{metric}"] = values[index].nanmean().item()
            if num_classes > 2:
                for number, value in enumerate(values[index].tolist(), start=1):
                    scores[f"{branch}.{metric}_class_{number}"] = value
        scores[f"{branch}.foreground"] = _share(labels[index][known] > 0)
        scores[f"{branch}.one_side_empty"] = int(one_side_empty[index])
    scores["truth.foreground"] = _share(truth[known] > 0)
    if len(branches) >= 3:
        scores["disagreement"] = _share(labels[1][known] != labels[2][known])
    if num_classes == 2:
        release = release_scores(labels[0].T, truth.T)  # from [W, H] to rows of the picture
        scores.update({f"release.{name}": value for name, value in release.items()})
    return scores


def format_summary(summary: Mapping[str, Any]) -> str:
    """A text table of a summary: every branch, then the first branch's scores of each set and of each class."""
    rows = dict(summary["branches"])
    prediction, scores = next(iter(rows.items()))
    for name, part in summary.get("sets", {}).items():
        rows[f"{prediction}, {name} ({part['images']} images)"] = part["branches"][prediction]
    if summary["num_classes"] > 2:
        for number in range(1, summary["num_classes"]):
            rows[f"{prediction}, class {number}"] = {m: scores[f"{m}_class_{number}"] for m in ("dice", "iou", "hd95")}
    return format_table(rows)


def format_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A text table of Dice, IoU and HD95, each as mean [low, high].

    Args:
        rows: name of a method -> its statistics, shaped like `summary["branches"][branch]`: "dice", "iou" and "hd95",
            each with "mean", "low" and "high". A missing number shows as "-".

    Returns:
        Lines of equal width, without a newline at the end. Dice and IoU are in per cent, HD95 in pixels.
    """
    header = ["method", "Dice %", "IoU %", "HD95 px"]
    body = [
        [name, *(_format_interval(row[metric], scale) for metric, scale in (("dice", 100), ("iou", 100), ("hd95", 1)))]
        for name, row in rows.items()
    ]
    widths = [max(len(line[column]) for line in [header, *body]) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [header, *body]]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


@dataclass
class _Case:
    """Scores and small copies of one image, a few kilobytes: which one is the median is known only at the end."""

    row: dict[str, Any]
    picture: bytes  # JPEG
    labels: bytes  # zlib, uint8
    shape: tuple[int, ...]  # of the labels, [1 + branches, W, H], truth first

    @classmethod
    def keep(cls, row: dict[str, Any], image: torch.Tensor, labels: torch.Tensor) -> _Case:
        picture = io.BytesIO()
        tile(image, TILE_SIZE).save(picture, format="JPEG", quality=92)
        packed = zlib.compress(labels.to(torch.uint8).numpy().tobytes())
        return cls(row, picture.getvalue(), packed, tuple(labels.shape))

    def restore(self) -> tuple[np.ndarray, np.ndarray]:
        """The image in tile size, [3, w, h] in [0, 1], and the labels [1 + branches, W, H]."""
        image = np.asarray(Image.open(io.BytesIO(self.picture))).transpose(2, 1, 0) / 255
        return image, np.frombuffer(zlib.decompress(self.labels), np.uint8).reshape(self.shape)


def _file_of(image: torch.Tensor) -> str | None:
    file = image.meta.get("filename_or_obj") if isinstance(image, MetaTensor) else None
    return None if file is None else str(file)


def _gather(cases: list[_Case]) -> list[_Case]:
    """The cases of all processes, each file once, sorted by file."""
    if idist.get_world_size() == 1:
        return cases
    by_file = {case.row["file"]: case for part in idist.all_gather(cases) for case in part}
    return [by_file[file] for file in sorted(by_file)]


def _one_hot(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """[B, W, H] -> bool [B, K, W, H]; a value that is no class is False everywhere."""
    return labels[:, None] == torch.arange(num_classes)[:, None, None]


def _share(mask: torch.Tensor) -> float:
    return mask.float().mean().item()


def _summarise_group(rows: Sequence[dict[str, Any]], group: str) -> dict[str, Any]:
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


def _select_cases(count: int, best: int, median: int, worst: int) -> list[tuple[str, int]]:
    """(words, place in the ranking from best to worst) of the cases to show, no case twice."""
    limit = math.ceil(count / 3)
    best, worst = min(best, limit), min(worst, limit, count - min(best, limit))
    median = min(median, limit, count - best - worst)
    start = min(max((count - median) // 2, best), count - worst - median)
    groups = {
        "best": range(best),
        "median": range(start, start + median),
        "worst": range(count - 1, count - 1 - worst, -1),
    }
    return [(f"{name} {place}", index) for name, group in groups.items() for place, index in enumerate(group, start=1)]


def _format_interval(statistics: Mapping[str, Any], scale: float) -> str:
    mean, low, high = (statistics.get(name) for name in ("mean", "low", "high"))
    if mean is None or math.isnan(mean):
        return "-"
    return f"{mean * scale:.2f} [{low * scale:.2f}, {high * scale:.2f}]"


def _to_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    return text.getvalue().encode()


def _to_png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    return content.getvalue()
