"""The figures of a run as a plain CSV file that survives crashes and resumes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path

from custom.files import write_whole
from custom.tables import append_csv, to_csv

__all__ = ["MetricsTable"]

COLUMNS = ("step", "epoch", "stage", "name", "value")


class MetricsTable:
    """A CSV file in long format: one line per figure, with the columns step, epoch, stage, name and value.

    The steps of one figure only rise: a figure at a step that the file already covers is left out, so an iteration
    that a resumed run repeats appears once. Values that are not finite are written as "nan", "inf" or "-inf".

    Args:
        path: the file; made, with its folder, by the first figure.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._last_steps: dict[tuple[str, str], int] | None = None

    def start_over(self) -> None:
        """Begin an empty table. One left by an earlier run is kept beside it as `<name>_previous.csv`."""
        if self.path.is_file():
            os.replace(self.path, self.path.with_stem(f"{self.path.stem}_previous"))
        self._last_steps = {}

    def append(self, step: int, epoch: int, stage: str, values: Mapping[str, float]) -> None:
        """Add the figures of one step of a stage, in a single write."""
        if self._last_steps is None:
            self._rewrite(self._read())
        new = {name: value for name, value in values.items() if step > self._last_steps.get((stage, name), -1)}
        if new:
            self._last_steps |= {(stage, name): step for name in new}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            cells = {"step": step, "epoch": epoch, "stage": stage}
            append_csv(self.path, [cells | {"name": name, "value": f"{new[name]:.8g}"} for name in new], COLUMNS)

    def truncate(self, stage: str, step: int) -> None:
        """Drop the figures of `stage` after `step`: those that a run resumed at `step` is going to make again."""
        self._rewrite([row for row in self._read() if row["stage"] != stage or int(row["step"]) <= step])

    def _read(self) -> list[dict[str, str]]:
        """The complete lines below the header; a process killed while writing can leave half a line at the end."""
        if not self.path.is_file():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            text = file.read()
        rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))
        return [dict(zip(COLUMNS, row, strict=True)) for row in rows if len(row) == len(COLUMNS) and row[0].isdigit()]

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        """Replace the file's content at once, and note how far each figure reaches."""
        self._last_steps = {}
        for row in rows:
            figure = row["stage"], row["name"]
            self._last_steps[figure] = max(int(row["step"]), self._last_steps.get(figure, -1))
        if self.path.is_file():
            write_whole(self.path, to_csv(rows, COLUMNS))
