"""A sheet of pictures: the best, median and worst cases of an evaluation."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from custom.drawing.panels import case_panel
from custom.drawing.sheet import sheet
from custom.drawing.tiles import tile

__all__ = ["Case", "draw_cases", "select_cases"]

TILE_SIZE = 160
FOR_FILES = {"bgr", "bit_depth", "class_names", "data", "source_side", "window"}
"""Details of how files are read, which a reader of the pictures does not need."""


@dataclass
class Case:
    """Scores and small copies of one image, a few kilobytes: which one is the median is known only at the end.

    Attributes:
        row: the scores, see `score_image`, with the "file".
        picture: the image in tile size, a JPEG file.
        labels: class indices as uint8, packed by zlib.
        shape: of the labels, [1 + branches, W, H], truth first.
    """

    row: dict[str, Any]
    picture: bytes
    labels: bytes
    shape: tuple[int, ...]

    @classmethod
    def keep(cls, row: dict[str, Any], image: torch.Tensor, labels: torch.Tensor) -> Case:
        """Pack an image [3, W, H] in [0, 1] and its labels [1 + branches, W, H]."""
        picture = io.BytesIO()
        tile(image, TILE_SIZE).save(picture, format="JPEG", quality=92)
        packed = zlib.compress(labels.to(torch.uint8).numpy().tobytes())
        return cls(row, picture.getvalue(), packed, tuple(labels.shape))

    def restore(self) -> tuple[np.ndarray, np.ndarray]:
        """The image in tile size, [3, w, h] in [0, 1], and the labels [1 + branches, W, H]."""
        image = np.asarray(Image.open(io.BytesIO(self.picture))).transpose(2, 1, 0) / 255
        return image, np.frombuffer(zlib.decompress(self.labels), np.uint8).reshape(self.shape)


def draw_cases(
    cases: Sequence[Case],
    branches: Sequence[str],
    num_classes: int,
    shown: Mapping[str, int],
    title: str,
    details: Mapping[str, Any],
) -> Image.Image:
    """One row per chosen case, under the title, the number of images and the details of the run.

    Args:
        cases: all images, ranked here by the Dice of the first branch.
        branches: a name for each prediction.
        num_classes: K, with the background.
        shown: how many of the "best", "median" and "worst" cases, see `select_cases`.
        title: heading of the sheet.
        details: name -> value, below the title, without what is None or in `FOR_FILES`.
    """
    dice = f"{branches[0]}.dice"
    ranked = sorted(cases, key=lambda case: case.row[dice], reverse=True)
    panels = []
    for rank, index in select_cases(len(ranked), **shown):
        case = ranked[index]
        heading = " · ".join([rank, case.row["file"], f"Dice {case.row[dice]:.1%}"])
        panels.append(_draw_case(case, branches, num_classes, heading))
    said = {key: value for key, value in details.items() if value is not None and key not in FOR_FILES}
    known = [f"{len(cases)} images", *(f"{key.replace('_', ' ')} {value}" for key, value in said.items())]
    return sheet(panels, title, " · ".join(known))


def _draw_case(case: Case, branches: Sequence[str], num_classes: int, heading: str) -> Image.Image:
    image, (truth, *predictions) = case.restore()
    notes = {branch: f"{case.row[f'{branch}.dice']:.1%}" for branch in branches}
    named = dict(zip(branches, predictions, strict=True))
    return case_panel(image, truth, named, num_classes, TILE_SIZE, heading=heading, notes=notes)


def select_cases(count: int, best: int, median: int, worst: int) -> list[tuple[str, int]]:
    """The cases to show, each once: their words ("best 1") and their places in a ranking from best to worst.

    Args:
        count: number of images in the ranking.
        best: how many of the best; each group gets at most a third of few images, rounded up.
        median: how many around the median.
        worst: how many of the worst.
    """
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
