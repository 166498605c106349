"""Scores per image, their summary and a sheet of cases, written when an evaluation ends."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.utils import convert_to_tensor
from PIL import Image

from custom.errors import InputError
from custom.files import short_names, write_whole
from custom.handlers.case_sheet import Case, draw_cases
from custom.labels.codec import LabelCodec
from custom.metrics.image_scores import own_size_dice, score_image
from custom.metrics.score_summary import CONFIDENCE, summarise_scores, summarise_volumes
from custom.metrics.volume_scores import score_volume
from custom.tables import to_csv

__all__ = ["EvaluationReport"]


class EvaluationReport:
    """Ignite handler that scores every image of an evaluation and writes a report when it ends.

    Attach it to a MONAI `SupervisedEvaluator` with `decollate=True`, whose output items hold "image" [3, W, H] in
    [0, 1], "label" [1, W, H] with class indices, and "pred" [branches, W, H] with soft ordinal values in [0, K - 1].
    Pixels labelled `IGNORED_LABEL` enter no score. Batch items may name the "set" they belong to and the "volume" they
    are a slice of, and may hold an "own_size_label", the label before it was resized: then Dice is computed at that
    size too. Written to `output_dir`, each file whole or not at all:

    * `per_image.csv`: one line per image, see `score_image` for the columns. Dice, IoU and shares are in [0, 1], HD95
      in pixels; a score that the image does not have is "nan".
    * `per_volume.csv`: where images are slices of volumes, a line per volume with its Dice in 3-D, see `score_volume`.
    * `summary.json`: the statistics of `summarise_scores`, with the given details.
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
        hard_labels: whether "pred" holds whole class numbers, which are not interpolated to the image's own size.
        details: facts about the run (preset, first stage, image size, split, seed, labelled images, ...), copied into
            the summary and shown on the sheet.

    Attributes:
        rows: the lines of `per_image.csv` after a run.
        volume_rows: the lines of `per_volume.csv`, if there are volumes.
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
        hard_labels: bool = False,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        self.num_classes = num_classes
        self.branches = tuple(branches)
        self.title = title
        self.shown = {"best": best, "median": median, "worst": worst}
        self.empty = empty
        self.hard_labels = hard_labels
        self.details = dict(details or {})
        self.rows: list[dict[str, Any]] = []
        self.volume_rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self._cases: list[Case] = []

    def attach(self, engine: Engine) -> None:
        """Start collecting with each run of `engine` and write when it ends."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, engine: Engine) -> None:
        """Discard the scores of the previous run.

        Raises:
            InputError: `output_dir` cannot be made.
        """
        self._cases = []
        try:
            self.output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"output_dir {self.output_dir} cannot be made ({error.strerror}); give another") from error

    def collect(self, engine: Engine) -> None:
        """Score the images of one batch.

        Raises:
            InputError: an image has no label, its label holds other values than class indices, or `branches` does not
                name all predictions.
        """
        for entry, item in zip(engine.state.batch, engine.state.output, strict=True):
            file = _file_of(item["image"]) or self._next_number()
            if item.get("label") is None:
                raise InputError(f"{file} has no label, so it cannot be scored: evaluate on labelled images only")
            try:
                self._cases.append(self._score(file, entry, item))
            except InputError as error:
                raise InputError(f"{file}: {error}") from error

    def finish(self, engine: Engine) -> None:
        """Summarise the scores, and write the files on the first process.

        Raises:
            InputError: no image was seen.
        """
        cases = _gather(self._cases)
        if not cases:
            raise InputError("the evaluation saw no image: check the list of the evaluated split")
        self.rows = [case.row for case in cases]
        for row, name in zip(self.rows, short_names([row["file"] for row in self.rows]), strict=True):
            row["file"] = name
        self.volume_rows = self._score_volumes(cases)
        self.summary = self._summarise()
        if idist.get_rank() == 0:
            if self.volume_rows:
                write_whole(self.output_dir / "per_volume.csv", to_csv(self.volume_rows))
            write_whole(self.output_dir / "per_image.csv", to_csv(self.rows))
            write_whole(self.output_dir / "summary.json", json.dumps(self.summary, indent=2, default=str).encode())
            write_whole(self.output_dir / "cases.png", _to_png(self._draw(cases)))

    def _score(self, file: str, entry: Mapping[str, Any], item: Mapping[str, Any]) -> Case:
        truth = convert_to_tensor(item["label"], device="cpu", track_meta=False)[0]
        predictions = convert_to_tensor(item["pred"], device="cpu", track_meta=False).detach()
        known = {"file": file} | {name: entry[name] for name in ("set", "volume") if name in entry}
        scores = score_image(predictions, truth, self.branches, self.num_classes, self.empty)
        if "own_size_label" in entry:
            own_size_truth = convert_to_tensor(entry["own_size_label"], device="cpu", track_meta=False)[0]
            scores |= own_size_dice(predictions, own_size_truth, self.branches, self.num_classes, self.hard_labels)
        labels = torch.cat([truth[None], LabelCodec.harden(predictions)])
        return Case.keep(known | scores, item["image"], labels)

    def _score_volumes(self, cases: Sequence[Case]) -> list[dict[str, Any]]:
        slices: dict[str, list[Case]] = {}
        for case in cases:
            if "volume" in case.row:
                slices.setdefault(case.row["volume"], []).append(case)
        rows = []
        for volume, parts in sorted(slices.items()):
            labels = torch.stack([torch.from_numpy(part.restore()[1].copy()) for part in parts], dim=-1)
            scores = score_volume(labels, self.branches, self.num_classes)
            rows.append({"volume": volume, "slices": len(parts)} | scores)
        return rows

    def _next_number(self) -> str:
        """A name for an image without one: its place in the data set, of which each process sees every n-th image."""
        return f"image_{len(self._cases) * idist.get_world_size() + idist.get_rank() + 1:05d}"

    def _summarise(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "details": self.details,
            "images": len(self.rows),
            "num_classes": self.num_classes,
            "confidence": CONFIDENCE,
            "hd95_of_one_empty_side": self.empty,
            **summarise_scores(self.rows, self.branches, self.num_classes),
            **summarise_volumes(self.volume_rows, self.branches),
        }

    def _draw(self, cases: Sequence[Case]) -> Image.Image:
        return draw_cases(cases, self.branches, self.num_classes, self.shown, self.title, self.details)


def _file_of(image: torch.Tensor) -> str | None:
    file = image.meta.get("filename_or_obj") if isinstance(image, MetaTensor) else None
    return None if file is None else str(file)


def _gather(cases: list[Case]) -> list[Case]:
    """The cases of all processes, each file once, sorted by file."""
    if idist.get_world_size() == 1:
        return cases
    by_file = {case.row["file"]: case for part in idist.all_gather(cases) for case in part}
    return [by_file[file] for file in sorted(by_file)]


def _to_png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG", optimize=True)
    return content.getvalue()
