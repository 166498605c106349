"""A data set of phantoms, pictures drawn with their masks: for a first run that needs no download."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custom.command_line import SEED, Command, Name, WholeNumber, output_folder, run_command
from custom.data import DataFacts
from custom.errors import InputError
from custom.files import write_whole
from custom.phantoms import colonoscopy, dermoscopy, histology, ultrasound
from custom.phantoms.drawing import check_size

__all__ = ["MODALITIES", "Modality", "write_phantom_dataset"]

_COUNT = WholeNumber(0, 1_000_000)
_SPLITS = ("training", "validation", "test")

DrawPhantom = Callable[[int, np.random.Generator], tuple[NDArray[np.uint8], NDArray[np.uint8]]]


@dataclass(frozen=True)
class Modality:
    """A kind of phantoms.

    Attributes:
        draw: from a size in pixels and a generator to a picture, uint8 [size, size] or [size, size, 3], and its mask,
            uint8 [size, size] with values 0 and 255.
        difficulty: what makes the foreground hard to find; a dataclass.
        shows: what the pictures show, for the datalist.
        foreground: name of the foreground class.
        one_connected_component: whether the foreground is one connected piece in most pictures.
    """

    draw: DrawPhantom
    difficulty: object
    shows: str
    foreground: str
    one_connected_component: bool = True


MODALITIES = {
    "ultrasound": Modality(
        ultrasound.draw_ultrasound_phantom,
        ultrasound.DIFFICULTY,
        "Synthetic breast ultrasound with one or two lesions in each picture",
        "lesion",
    ),
    "colonoscopy": Modality(
        colonoscopy.draw_colonoscopy_phantom,
        colonoscopy.DIFFICULTY,
        "Synthetic colonoscopy with one or two polyps in each picture",
        "polyp",
    ),
    "dermoscopy": Modality(
        dermoscopy.draw_dermoscopy_phantom,
        dermoscopy.DIFFICULTY,
        "Synthetic dermoscopy with one lesion in each picture",
        "lesion",
    ),
    "histology": Modality(
        histology.draw_histology_phantom,
        histology.DIFFICULTY,
        "Synthetic H&E-stained tissue with tumour regions in each picture",
        "tumour",
        one_connected_component=False,
    ),
}


def write_phantom_dataset(
    output_dir: str | os.PathLike[str],
    labelled: int = 16,
    unlabelled: int = 200,
    validation: int = 24,
    test: int = 60,
    image_size: int = 64,
    seed: int = 0,
    modality: str = "ultrasound",
) -> Path:
    """Write phantoms as `images/NNNN.png`, `masks/NNNN.png` (none for unlabelled ones) and `datalist.json`.

    Paths in the datalist are relative to it. Its "training" list starts with the labelled items. It states the facts
    that `read_facts` reads. Masks hold 0 and 255. `modality` is one of `MODALITIES`: ultrasound pictures are grey, all
    others RGB. Each phantom depends only on `modality`, `seed`, `image_size`, its split and its place there: the test
    set is the same whatever the other counts, and labelling more training images changes none of them.

    The datalist is written last and records what it was made with, so a second call with the same arguments does
    nothing, while after other arguments, or an unfinished set, it is made anew.

    Returns:
        The path of the datalist.

    Raises:
        InputError: an argument is out of range, the folder holds a datalist of something else, or it cannot be
            written to.
    """
    counts = {"labelled": labelled, "unlabelled": unlabelled, "validation": validation, "test": test}
    _check_arguments(counts, image_size, seed, modality)
    folder = Path(output_dir)
    datalist_path = folder / "datalist.json"
    kind = MODALITIES[modality]
    made_with = {**counts, "image_size": image_size, "difficulty": asdict(kind.difficulty)}
    facts = DataFacts(
        _dataset_name(modality),
        ("background", kind.foreground),
        stated_one_connected_component=kind.one_connected_component,
    )
    datalist = {
        **facts.for_datalist(),
        "description": f"{kind.shows}; no patient data",
        "seed": seed,
        "made_with": json.loads(json.dumps(made_with)),  # as it will be read back: JSON turns tuples into lists
        **_list_items(**counts),
    }
    try:
        earlier = _read_earlier_datalist(datalist_path)
        if earlier == datalist and _all_files_exist(folder, datalist):
            return datalist_path
        if earlier is not None:
            _remove_earlier_set(folder, datalist_path)
        _write_pictures(folder, datalist, kind.draw, image_size, seed)
        write_whole(datalist_path, (json.dumps(datalist, indent=2) + "\n").encode())
    except OSError as error:
        raise InputError(
            f"{folder}: cannot write the phantom data set there ({error.strerror or error}): name another output folder"
        ) from error
    return datalist_path


def _dataset_name(modality: str) -> str:
    return f"{modality.capitalize()} phantoms"


def _check_arguments(counts: dict[str, int], image_size: int, seed: int, modality: str) -> None:
    if modality not in MODALITIES:
        raise InputError(f"modality is {modality!r}: give one of {', '.join(MODALITIES)}")
    for name, least in {"labelled": 1, "unlabelled": 0, "validation": 0, "test": 0}.items():
        if counts[name] < least:
            raise InputError(f"{name} is {counts[name]}: give at least {least}")
    check_size(image_size)
    if seed < 0:
        raise InputError(f"seed is {seed}: give at least 0")


def _list_items(labelled: int, unlabelled: int, validation: int, test: int) -> dict[str, list[dict[str, str]]]:
    """The datalist's three lists; pictures are numbered through from the first labelled to the last test one."""
    count = labelled + unlabelled + validation + test
    items = [{"image": f"images/{number:04d}.png", "label": f"masks/{number:04d}.png"} for number in range(count)]
    training_end = labelled + unlabelled
    for item in items[labelled:training_end]:
        del item["label"]
    return {
        "training": items[:training_end],
        "validation": items[training_end : training_end + validation],
        "test": items[training_end + validation :],
    }


def _read_earlier_datalist(path: Path) -> dict | None:
    if not path.exists():
        return None
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        earlier = None
    if not isinstance(earlier, dict) or earlier.get("name") not in map(_dataset_name, MODALITIES):
        raise InputError(f"{path} is not a datalist of phantoms: name another output folder or move that file away")
    return earlier


def _all_files_exist(folder: Path, datalist: dict) -> bool:
    return all((folder / path).is_file() for split in _SPLITS for item in datalist[split] for path in item.values())


def _remove_earlier_set(folder: Path, datalist_path: Path) -> None:
    """The datalist goes first: it is never there without its pictures. Only its presence makes the pictures ours."""
    datalist_path.unlink()
    for name in ("images", "masks"):
        for picture in (folder / name).glob("[0-9][0-9][0-9][0-9]*.png"):
            picture.unlink()


def _write_pictures(folder: Path, datalist: dict, draw: DrawPhantom, image_size: int, seed: int) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for split_number, split in enumerate(_SPLITS):
        for place, item in enumerate(datalist[split]):
            rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split_number, place)))
            image, mask = draw(image_size, rng)
            Image.fromarray(image).save(folder / item["image"])
            if "label" in item:
                Image.fromarray(mask).save(folder / item["label"])


@click.command(cls=Command)
@output_folder()
@click.option("--labelled", type=_COUNT, default=16, metavar="N", help="Training pictures with a mask (default: 16).")
@click.option("--unlabelled", type=_COUNT, default=200, metavar="N", help="Training pictures without (default: 200).")
@click.option("--validation", type=_COUNT, default=24, metavar="N", help="Validation pictures (default: 24).")
@click.option("--test", type=_COUNT, default=60, metavar="N", help="Test pictures (default: 60).")
@click.option("--image-size", type=WholeNumber(8, 4096), default=64, metavar="PIXELS", help="Side (default: 64).")
@click.option("--seed", type=SEED, default=0, metavar="N", help="The same seed gives the same set (default: 0).")
@click.option("--modality", type=Name(MODALITIES), default="ultrasound", metavar="NAME", help=", ".join(MODALITIES))
def command(output: Path, **options: Any) -> None:
    """Write a phantom data set and print the path of its datalist."""
    print(write_phantom_dataset(output, **options))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    run_command(command, arguments, "python -m custom phantom")
