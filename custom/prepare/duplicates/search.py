"""Images which are in a data set more than once: leaks, where the copies are in different splits.

python -m custom duplicates IMAGES_OR_DATALIST --output near_duplicates

Found are equal files, equal pixels, and the same scene after a change of size, format, brightness, contrast or gamma,
with drawn-in text or markers, mirrored or turned by quarters, rotated a little, shifted, or cropped. The method is
documented in `custom.prepare.duplicates.matching`.

Measured on images of at most 288 pixels per side; pairs were judged by eye:

=====================  ======  =====  ============
data                   images  pairs  false alarms
=====================  ======  =====  ============
BUSI                      647    182             0
ISIC 2018, random part    600      6             0
Kvasir-SEG               1000     20             0
GlaS                      165      0             0
=====================  ======  =====  ============

Of 60 changed copies hidden among 160 BUSI images, all were found after mirroring, turning, cropping to 90 or 80 % of
each side, a shift by 15 %, brightness, contrast, gamma 0.5 and 2, noise, JPEG at quality 20, text, or a rotation by 5
degrees; 51 after cropping to 70 %. Smaller crops are not searched for. Of one core's time, 647 images took about 6
seconds and 1000 took 30.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from custom.command_line import Command, PathTo, output_folder, run_command
from custom.data.datalist import load_datalist
from custom.errors import InputError
from custom.files import file_digest, write_whole
from custom.pixels import read_image
from custom.pixels.formats import IMAGE_SUFFIXES
from custom.prepare.duplicates.matching import Match, Views, find_matches, prepare_views
from custom.prepare.duplicates.near_duplicate import NearDuplicate
from custom.prepare.duplicates.picture import draw_contact_sheet
from custom.prepare.listing import list_files
from custom.tables import markdown_table, to_csv

__all__ = ["duplicate_groups", "find_near_duplicates", "main", "write_tables"]

COLUMNS = ("first", "first split", "second", "second split", "kind", "distance", "group")
WHOLE_FRAME = 0.93  # share of either picture from which two frames count as equal: alignment is not exact


class _Fingerprint(NamedTuple):
    file: str
    pixels: str
    views: Views


def find_near_duplicates(paths: Sequence[Path], show_progress: bool = True) -> list[NearDuplicate]:
    """Find the pairs of images which show the same scene.

    An image without any texture only equals images with the same pixels. Every image is compared in detail with the
    ten others most like it: of a longer series of almost equal frames some pairs are left out, yet `duplicate_groups`
    still joins the series.

    Args:
        paths: image files of any size and of any kind which training reads.
        show_progress: show progress bars, if the standard error is a terminal.

    Returns:
        Pairs by distance; the nearest first.

    Raises:
        InputError: a file which is missing or cannot be read; the message names it.
    """
    bar = tqdm(paths, "reading images", unit="image", disable=None if show_progress else True)
    fingerprints = [_fingerprint(path) for path in bar]
    copies: dict[str, list[int]] = defaultdict(list)
    for number, fingerprint in enumerate(fingerprints):
        copies[fingerprint.pixels].append(number)
    pairs = [pair for numbers in copies.values() for pair in _equal_pairs(numbers, fingerprints)]
    different = list(copies.values())
    # Only one of each set of copies is compared, and stands for the others.
    for match in find_matches([fingerprints[numbers[0]].views for numbers in different], show_progress):
        kind, distance = _kind(match), min(max(1 - match.similarity, 0.0), 1.0)
        for one, other in product(different[match.first], different[match.second]):
            pairs.append(NearDuplicate(min(one, other), max(one, other), kind, distance))
    return sorted(pairs, key=lambda pair: (pair.distance, pair.first, pair.second))


def duplicate_groups(count: int, pairs: Sequence[NearDuplicate]) -> list[int]:
    """The group of each of `count` images: images joined by pairs, directly or through others, share a number.

    Groups are numbered from 0 in the order of their first image; an image without pairs is a group of its own.
    """
    if not count:
        return []
    ends = np.array([(pair.first, pair.second) for pair in pairs], dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(count, count))
    _, components = connected_components(graph, directed=False)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(component, len(numbers)) for component in components.tolist()]


def write_tables(pairs: Sequence[NearDuplicate], paths: Sequence[Path], labels: Sequence[str], output: Path) -> None:
    """Write the pairs as near_duplicates.csv and, with totals, as near_duplicates.md.

    Args:
        pairs: as `find_near_duplicates` returns them.
        paths: the images which the pairs point to.
        labels: the split, or another word, for each image; may be empty.
        output: the folder to write to; made where missing.
    """
    output.mkdir(parents=True, exist_ok=True)
    groups = duplicate_groups(len(paths), pairs)
    rows = [
        (paths[one], labels[one], paths[other], labels[other], kind, f"{distance:.3f}", groups[one])
        for one, other, kind, distance in pairs
    ]
    write_whole(output / "near_duplicates.csv", to_csv((dict(zip(COLUMNS, row, strict=True)) for row in rows), COLUMNS))
    lines = ["# Near duplicates", "", _summary(pairs, groups, labels), ""]
    if rows:
        lines += [markdown_table(COLUMNS, rows), ""]
    write_whole(output / "near_duplicates.md", "\n".join(lines).encode())


def _fingerprint(path: Path) -> _Fingerprint:
    image = read_image(path)
    pixels = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
    return _Fingerprint(file_digest(path), pixels, prepare_views(image))


def _equal_pairs(numbers: Sequence[int], fingerprints: Sequence[_Fingerprint]) -> list[NearDuplicate]:
    """All pairs of images with equal pixels."""
    return [
        NearDuplicate(
            one, other, "exact file" if fingerprints[one].file == fingerprints[other].file else "same pixels", 0.0
        )
        for one, other in combinations(numbers, 2)
    ]


def _kind(match: Match) -> str:
    """Name what was done to the frame, as the placement of one picture in the other shows it."""
    changes = []
    matrix = match.placement[:2, :2]
    if np.linalg.det(matrix) < 0:
        changes.append("flipped")
    elif matrix.trace() < abs(matrix[1, 0] - matrix[0, 1]) or matrix.trace() < 0:  # turned by more than 45 degrees
        changes.append("turned")
    if min(match.overlaps) < WHOLE_FRAME:
        changes.append("cropped")
    return ", ".join(changes) or "same"


def _summary(pairs: Sequence[NearDuplicate], groups: Sequence[int], labels: Sequence[str]) -> str:
    across = sum(labels[pair.first] != labels[pair.second] for pair in pairs)
    members = {number for pair in pairs for number in pair[:2]}
    joined = len({groups[number] for number in members})
    return (
        f"{len(labels)} images, {len(pairs)} pairs of near duplicates, {across} of them between different splits; "
        f"{len(members)} images in {joined} groups."
    )


def _read_source(source: Path, dataset_dir: Path | None) -> tuple[list[Path], list[str]]:
    """Paths and splits of the images of a datalist, or of all in a folder, where the first subfolder is the split."""
    if source.is_dir():
        paths = [path for path in list_files(source) if path.is_file()]
        if not paths:
            raise InputError(f"{source}: holds no image ({', '.join(IMAGE_SUFFIXES)}); give a folder of images")
        return paths, [path.relative_to(source).parts[0] if path.parent != source else "" for path in paths]
    # One labelled image: labels do not matter here, and the datalist then has something unlabelled to return.
    splits = load_datalist(source, dataset_dir or source.parent, labelled=1)
    purposes = {"labelled": "training", "unlabelled": "training"}
    labelled_paths = [(Path(item["image"]), purposes.get(split, split)) for split in splits for item in splits[split]]
    return [path for path, _ in labelled_paths], [label for _, label in labelled_paths]


@click.command(cls=Command)
@click.argument("source", type=PathTo(), metavar="DIR_OR_DATALIST")
@click.option(
    "--dataset-dir", type=PathTo("folder"), metavar="DIR", help="Where a datalist's paths start (default: its folder)."
)
@output_folder()
def command(source: Path, dataset_dir: Path | None, output: Path) -> None:
    """Look for images which are there more than once, within and across splits; write tables and a contact sheet.

    DIR_OR_DATALIST is a datalist (JSON), or a folder of images; the names of its subfolders, if any, count as splits.
    """
    paths, labels = _read_source(source, dataset_dir)
    pairs = find_near_duplicates(paths)
    write_tables(pairs, paths, labels, output)
    draw_contact_sheet(pairs, paths, labels, output / "near_duplicates.png")
    print(_summary(pairs, duplicate_groups(len(paths), pairs), labels))
    print(output / "near_duplicates.md")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    run_command(command, arguments, "python -m custom duplicates")
