"""One CSV row for each predicted image."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

__all__ = ["PredictionTable"]


class PredictionTable:
    """Writes file, size [pixels], foreground share, mean disagreement and mean uncertainty of every prediction.

    Uncertainty is 1 - |2 p - 1| of the foreground probability p (of the soft label over K - 1 with more classes):
    0 where the model is sure, 1 where it is undecided. A row is in the file as soon as its prediction is made.

    Args:
        path: the CSV file; its folder is made.
    """

    COLUMNS = ("image", "width", "height", "foreground_share", "disagreement", "uncertainty")

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose postprocessing holds `SplitBranchesd`."""
        engine.add_event_handler(Events.STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "w", newline="") as file:
            csv.DictWriter(file, self.COLUMNS).writeheader()

    def _add(self, engine: Engine) -> None:
        rows = [self._row(*pair) for pair in zip(engine.state.batch, engine.state.output, strict=True)]
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self.COLUMNS).writerows(rows)

    @staticmethod
    def _row(source: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
        mask, probability = item["pred"], item["probability"]
        return {
            "image": source["image"].meta["filename_or_obj"],
            "width": mask.shape[-2],
            "height": mask.shape[-1],
            "foreground_share": f"{(mask > 0).float().mean().item():.6f}",
            "disagreement": f"{item['disagreement'].mean().item():.6f}",
            "uncertainty": f"{(1 - (2 * probability - 1).abs()).mean().item():.6f}",
        }
