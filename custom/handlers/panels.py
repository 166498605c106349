"""Pictures of the same validation images in the course of a training."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from PIL import Image

from custom.drawing.panels import case_panel
from custom.drawing.sheet import sheet
from custom.tracking import ExperimentTracker

__all__ = ["PanelSaver"]


class PanelSaver:
    """Ignite handler that draws the same few validation images with their predictions during a training.

    It writes `<output_dir>/panels/epoch_0010.png`, one row per image: image, truth, branches, mean, and where the
    branches differ. The first validation at or after each multiple of `every` epochs makes a picture, and so does one
    after the last epoch. Under several processes the first one draws the images of its own share.

    Args:
        output_dir: folder of the run.
        indices: positions of the images in the validation loader, which must not shuffle.
        every: epochs between two pictures.
        tracker: sends the pictures to MLflow as well.
        branches: one name per channel of the predictions; further channels are not drawn.
        num_classes: K, with the background.
        stage: subfolder of `panels`, for runs in which two stages draw.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike[str],
        indices: Collection[int] = (0, 1, 2, 3),
        every: int = 1,
        tracker: ExperimentTracker | None = None,
        branches: Sequence[str] = ("mean", "image_branch", "mask_branch"),
        num_classes: int = 2,
        stage: str = "",
    ) -> None:
        self.folder = Path(output_dir) / "panels" / stage
        self.tracking_folder = (Path("panels") / stage).as_posix()
        self.indices = frozenset(indices)
        self.every = every
        self.tracker = tracker
        self.branches = tuple(branches)
        self.num_classes = num_classes
        self._rows: list[Image.Image] = []
        self._seen = 0
        self._is_due = False
        self._previous_epoch = 0

    def attach(self, evaluator: Engine, trainer: Engine) -> None:
        """Register with the evaluator that runs during the epochs of `trainer`.

        The evaluator must decollate: its output is a list of dictionaries with "image" [3, W, H] in [0, 1], "pred"
        [branches, W, H] with soft ordinal values in [0, K - 1] and, where there is one, "label" [1, W, H].
        """
        if idist.get_rank() > 0:
            return
        trainer.add_event_handler(Events.STARTED, self._remember_epoch)
        evaluator.add_event_handler(Events.STARTED, self._start, trainer)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        evaluator.add_event_handler(Events.COMPLETED, self._save, trainer)

    def _remember_epoch(self, trainer: Engine) -> None:
        """A resumed training has already drawn the pictures up to its epoch."""
        self._previous_epoch = trainer.state.epoch

    def _start(self, _: Engine, trainer: Engine) -> None:
        epoch = trainer.state.epoch
        passed_a_multiple = epoch // self.every > self._previous_epoch // self.every
        self._is_due = passed_a_multiple or epoch == trainer.state.max_epochs
        self._previous_epoch = epoch
        self._rows, self._seen = [], 0

    def _collect(self, evaluator: Engine) -> None:
        for item in evaluator.state.output:
            if self._is_due and self._seen in self.indices:
                self._rows.append(self._draw(item))
            self._seen += 1

    def _draw(self, item: Mapping[str, Any]) -> Image.Image:
        image, label = item["image"], item.get("label")
        predictions = dict(zip(self.branches, item["pred"], strict=False))
        source = getattr(image, "meta", {}).get("filename_or_obj", "")
        heading = os.path.basename(str(source))
        return case_panel(image, label, predictions, num_classes=self.num_classes, heading=heading)

    def _save(self, _: Engine, trainer: Engine) -> None:
        if not self._rows:
            return
        epoch = trainer.state.epoch
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"epoch_{epoch:04d}.png"
        sheet(self._rows, title=f"Validation, epoch {epoch}").save(path)
        self._rows = []
        if self.tracker is not None:
            self.tracker.log_artifact(path, self.tracking_folder)
