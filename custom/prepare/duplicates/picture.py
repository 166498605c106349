"""A contact sheet of image pairs, to judge by eye what a search for near duplicates found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from custom.drawing.palette import DIFFERENCE_COLOUR
from custom.drawing.sheet import captioned_row, sheet
from custom.pixels import read_image
from custom.prepare.duplicates.near_duplicate import NearDuplicate

__all__ = ["draw_contact_sheet"]

TILE_SIZE = 150
FRAME_WIDTH = 3
PAIRS_A_ROW = 4
MOST_PAIRS = 200


def draw_contact_sheet(
    pairs: Sequence[NearDuplicate], paths: Sequence[Path], labels: Sequence[str], output: Path
) -> None:
    """Write a PNG with both images of each pair side by side; pairs with two different labels come first, framed.

    At most `MOST_PAIRS` pairs are drawn, so that the picture stays readable. Its title gives their number, also
    where it is 0.

    Args:
        pairs: as `find_near_duplicates` returns them.
        paths: the images which the pairs point to.
        labels: a word for each image, such as the split it belongs to; may be empty.
        output: the PNG to write; its folder is made where missing.

    Raises:
        InputError: an image which cannot be read any more.
    """
    ordered = sorted(pairs, key=lambda pair: labels[pair.first] == labels[pair.second])
    across = sum(labels[pair.first] != labels[pair.second] for pair in pairs)
    cells = [_draw_pair(pair, paths, labels) for pair in ordered[:MOST_PAIRS]]
    rows = [_side_by_side(cells[start : start + PAIRS_A_ROW]) for start in range(0, len(cells), PAIRS_A_ROW)]
    title = f"{len(pairs)} pairs of near duplicates" if pairs else "No near duplicates"
    subtitle = f"{across} of them between different splits (framed)" if across else ""
    if len(cells) < len(pairs):
        subtitle = ", ".join(filter(None, [subtitle, f"the first {len(cells)} are shown"]))
    output.parent.mkdir(parents=True, exist_ok=True)
    sheet(rows or [Image.new("RGB", (2 * TILE_SIZE, 1), "white")], title, subtitle).save(output)


def _draw_pair(pair: NearDuplicate, paths: Sequence[Path], labels: Sequence[str]) -> Image.Image:
    across = labels[pair.first] != labels[pair.second]
    members = (pair.first, pair.second)
    captions = [" · ".join(filter(None, [labels[member], Path(paths[member]).stem])) for member in members]
    heading = f"{pair.kind}, distance {pair.distance:.2f}"
    return captioned_row([_framed_tile(paths[member], across) for member in members], captions, heading)


def _framed_tile(path: Path, framed: bool) -> Image.Image:
    """The image in the middle of a square tile, so that all pairs have one size."""
    tile = ImageOps.pad(read_image(path), (TILE_SIZE, TILE_SIZE), color="white")
    return ImageOps.expand(tile, FRAME_WIDTH, DIFFERENCE_COLOUR if framed else "white")


def _side_by_side(cells: Sequence[Image.Image]) -> Image.Image:
    gap = TILE_SIZE // 6
    width, height = cells[0].size
    row = Image.new("RGB", (len(cells) * (width + gap) - gap, height), "white")
    for number, cell in enumerate(cells):
        row.paste(cell, (number * (width + gap), 0))
    return row
