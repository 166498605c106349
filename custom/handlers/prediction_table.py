"""A CSV file with one row per predicted image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from custom.files import write_whole
from custom.tables import append_csv, to_csv

__all__ = ["PredictionTable"]


class PredictionTable:
    """Ignite handler that writes a row per prediction: size [pixels], foreground share, disagreement, uncertainty.

    Disagreement is the mean over the pixels of the largest difference between two branches, see `SplitBranchesd`.
    Uncertainty is the mean of 1 - |2 p - 1| of the foreground probability p (with more than two classes, of the soft
    label divided by K - 1): 0 where the model is sure, 1 where it is undecided. A row is in the file as soon as its
    prediction is made.

    Args:
        path: the CSV file; its folder is made.
    """

    COLUMNS = ("image", "width", "height", "slices", "foreground_share", "disagreement", "uncertainty")

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose postprocessing holds `SplitBranchesd`."""
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)

    def begin(self) -> None:
        """Write a table without rows."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, to_csv([], self.COLUMNS))

    def _add(self, engine: Engine) -> None:
        for source, item in zip(engine.state.batch, engine.state.output, strict=True):
            self.add(self._row(source, item))

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row: values by column."""
        append_csv(self.path, [row], self.COLUMNS)

    @staticmethod
    def _row(source: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
        mask, probability = item["pred"], item["probability"]
        return {
            "image": source["image"].meta["filename_or_obj"],
            "width": probability.shape[1],
            "height": probability.shape[2],
            "slices": probability.shape[3] if probability.ndim == 4 else 1,
            "foreground_share": f"{(mask > 0).float().mean().item():.6f}",
            "disagreement": f"{item['disagreement'].mean().item():.6f}",
            "uncertainty": f"{(1 - (2 * probability - 1).abs()).mean().item():.6f}",
        }
