"""The figures of a run as a plain CSV file that survives crashes and resumes."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["MetricsTable"]

COLUMNS = ("step", "epoch", "stage", "name", "value")


class MetricsTable:
    """A CSV file in long format: one line a figure, with the columns step, epoch, stage, name and value.

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
        rows = []
        for name, value in values.items():
            if step > self._last_steps.get((stage, name), -1):
                self._last_steps[stage, name] = step
                rows.append((step, epoch, stage, name, f"{value:.8g}"))
        if rows:
            is_new = not self.path.is_file()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(_as_csv([COLUMNS, *rows] if is_new else rows))

    def truncate(self, stage: str, step: int) -> None:
        """Drop the figures of `stage` after `step`: those a run resumed at `step` is going to make again."""
        self._rewrite([row for row in self._read() if row[2] != stage or int(row[0]) <= step])

    def _read(self) -> list[list[str]]:
        """The complete lines below the header; a process killed while writing can leave half a line at the end."""
        if not self.path.is_file():
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            text = file.read()
        rows = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))
        return [row for row in rows if len(row) == len(COLUMNS) and row[0].isdigit()]

    def _rewrite(self, rows: list[list[str]]) -> None:
        """Replace the file's content at once, and note how far each figure reaches."""
        self._last_steps = {}
        for step, _, stage, name, _ in rows:
            self._last_steps[stage, name] = max(int(step), self._last_steps.get((stage, name), -1))
        if self.path.is_file():
            temporary = self.path.with_suffix(".tmp")
            with temporary.open("w", encoding="utf-8", newline="") as file:
                file.write(_as_csv([COLUMNS, *rows]))
            os.replace(temporary, self.path)


def _as_csv(rows: Iterable[Iterable]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
