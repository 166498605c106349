"""Pictures for the report: some images of each split with the outlines of their masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from custom.drawing.outlines import draw_classes
from custom.drawing.sheet import captioned_row, sheet
from custom.pixels import read_image
from custom.prepare.writing import Written

__all__ = ["draw_examples"]

_COLUMNS, _ROWS, _SIDE = 5, 3, 176


def draw_examples(
    folder: Path, written: Sequence[Written], splits: Sequence[str], class_names: Sequence[str], output: Path
) -> None:
    """Draw images drawn evenly from each split: a row or more for each."""
    rows = []
    for split in ("training", "validation", "test"):
        items = [item for item, its_split in zip(written, splits, strict=True) if its_split == split]
        rows_of_split = _ROWS if split == "training" else 1
        chosen = _evenly(items, _COLUMNS * rows_of_split)
        for start in range(0, len(chosen), _COLUMNS):
            group = chosen[start : start + _COLUMNS]
            tiles = [_tile(folder, item, len(class_names)) for item in group]
            captions = [item.record.name.rsplit("/")[-1] + ("" if item.label else " (no mask)") for item in group]
            rows.append(captioned_row(tiles, captions, split if start == 0 else ""))
    sheet(rows, "Images and their masks", f"outlined: {', '.join(class_names[1:])}").save(output)


def _evenly(items: Sequence[Written], count: int) -> list[Written]:
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]


def _tile(folder: Path, item: Written, num_classes: int) -> Image.Image:
    picture = read_image(folder / item.image)
    scale = _SIDE / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    tile = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=3)
    if item.label is None:
        return tile
    with Image.open(folder / item.label) as mask:
        labels = np.asarray(mask.resize(size, Image.Resampling.NEAREST)).T  # [W, H], as the outlines expect
    return draw_classes(tile, labels, num_classes, width=1.4)
