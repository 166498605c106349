"""Tables of text: CSV files, Markdown, and columns for a terminal."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["append_csv", "markdown_cell", "markdown_table", "read_csv", "text_table", "to_csv"]


def to_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = (), header: bool = True) -> bytes:
    """Rows as a CSV file in UTF-8 with a line feed after each line.

    Args:
        rows: column -> value. Numbers with a fraction get six significant digits, None is an empty cell.
        columns: the names of the columns; those of all rows, in the order of their first use, if none are given. A
            column that a row lacks is empty there.
        header: whether the first line names the columns.

    Raises:
        ValueError: a row has a column that `columns` lacks.
    """
    rows = list(rows)
    text = io.StringIO()
    names = list(columns) or list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()})
    return text.getvalue().encode()


def append_csv(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Add rows to the end of a CSV file in one write; the names of the columns come first if the file is new or empty.

    Args:
        path: the file; its folder exists.
        rows: see `to_csv`.
        columns: see `to_csv`; those of the file, in its order.
    """
    with Path(path).open("ab") as file:
        file.write(to_csv(rows, columns, header=file.tell() == 0))


def read_csv(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """The rows of a CSV file in UTF-8 whose first line names the columns.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text in UTF-8, or no CSV.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        try:
            return list(csv.DictReader(file))
        except csv.Error as error:
            raise ValueError(f"{path}: {error}") from error


def markdown_table(head: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table, without a line break at its end."""
    lines = [[markdown_cell(cell) for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown_cell(value: object) -> str:
    """A value as a cell of a Markdown table, which holds no line break and no bare `|`."""
    return str(value).replace("|", "\\|").replace("\n", " ")


def text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns of text under a line, for a terminal: lines of equal width, without a line break at the end."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([padded[0], "-" * len(padded[0]), *padded[1:]])
