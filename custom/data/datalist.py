"""Which images are labelled, unlabelled, for validation and for test: read from a Decathlon-style datalist."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from custom.data.datalist_paths import DatalistPaths, shown
from custom.errors import InputError
from custom.json_files import read_json_object

__all__ = ["Splits", "files_in_use", "load_datalist", "read_datalist", "scored_items"]

logger = logging.getLogger(__name__)

Splits = Mapping[str, Sequence[Mapping[str, str]]]
"""Items by split, as `load_datalist` returns them."""


def load_datalist(
    datalist: str | os.PathLike,
    dataset_dir: str | os.PathLike,
    labelled: str | int = "all",
    use_unlabelled: bool = True,
) -> dict[str, list[dict[str, str]]]:
    """Read a datalist and decide which training images count as labelled.

    The file is JSON as `monai.data.load_decathlon_datalist` reads it, with one addition, "labelled_subsets"::

        {"training": [{"image": "images/1.png", "label": "masks/1.png"}, {"image": "images/2.png"}, ...],
         "validation": [{"image": ..., "label": ...}, ...],
         "test": [{"image": ..., "label": ..., "set": "CVC-300"}, ...],     optional, labels and sets optional
         "labelled_subsets": {"5%": ["images/1.png", ...], "10%": [...]}}      optional, each within the next larger

    Facts about the data set, such as "num_classes", stand beside these lists: see `read_facts`.

    Nothing in it is evaluated: a name may begin with "$" or "@". Paths may be written as Windows does, and accents may
    be composed otherwise than in the names on the disk. MONAI's own reader is not used because it neither checks the
    entries nor keeps paths inside `dataset_dir`.

    Args:
        datalist: the JSON file.
        dataset_dir: the folder its paths are relative to. Links below it are followed.
        labelled: "all" for every training image with a label; the name of a listed subset; another percentage of the
            training images with a label, rounded up; or a count. Counts and unlisted percentages take images from the
            listed subsets first, in ascending order, then in file order: a larger number contains the smaller.
        use_unlabelled: False leaves "unlabelled" empty, to train on labels only.

    Returns:
        The items of "labelled", "unlabelled", "validation" and "test", with absolute paths under "image" and "label".
        Items of "unlabelled" have no "label", so that a mask which counts as missing cannot be opened. Test
        items keep the name of their "set", if all have one, for scores of each set. The items of a split keep the
        names of their "group" (patient or slide) and of the "volume" that they are a slice of, if all have them.

    Raises:
        InputError: the file, the folder, an entry or `labelled` is wrong.
    """
    datalist, dataset_dir = Path(datalist), Path(os.path.abspath(dataset_dir))
    content = read_datalist(datalist)
    _require_files(dataset_dir)
    paths = DatalistPaths(dataset_dir)

    training = _entries(content, "training", datalist, paths)
    order, subset_sizes = _labelling_order(content, training, datalist, paths)
    if not order:
        raise InputError(f'{datalist}: no entry of "training" has a "label"; label at least one image')
    count = _labelled_count(labelled, subset_sizes, len(order))
    chosen = set(order[:count])
    by_image = {item["image"]: item for item in training}
    unlabelled = [_without_label(item) for image, item in by_image.items() if image not in chosen]
    unlabelled = unlabelled if use_unlabelled else []
    if use_unlabelled and not unlabelled:
        logger.warning("%s leaves no unlabelled image: training uses labels only", datalist)
    return {
        "labelled": [by_image[image] for image in order[:count]],
        "unlabelled": unlabelled,
        "validation": _entries(content, "validation", datalist, paths, needs_label=True),
        "test": _entries(content, "test", datalist, paths) if "test" in content else [],
    }


def read_datalist(datalist: str | os.PathLike) -> dict[str, Any]:
    """The content of a datalist as it is written, for what `load_datalist` does not give.

    Raises:
        InputError: see `read_json_object`.
    """
    return read_json_object(datalist, "datalist")


def files_in_use(splits: Splits, split: str) -> Iterator[dict[str, str]]:
    """The items of `split` with only those files that training may read: never the masks of "unlabelled"."""
    keys = ("image",) if split == "unlabelled" else ("image", "label")
    for item in splits[split]:
        yield {key: item[key] for key in keys if key in item}


def scored_items(splits: Splits, split: str, may_be_empty: bool = False) -> list[dict[str, str]]:
    """The items of `split`, each with a label that its prediction is compared with.

    Args:
        splits: items by split, as `load_datalist` returns them.
        split: name of one of them.
        may_be_empty: whether there may be none.

    Raises:
        InputError: an item has no label, or there is none.
    """
    items = list(splits[split])
    for item in items:
        if "label" not in item:
            raise InputError(f'{item["image"]} is in "{split}" without a label: add it, or take the image off the list')
    if not items and not may_be_empty:
        raise InputError(f'split {split}: the datalist lists no image in "{split}"; add some, or give another --split')
    return items


def _require_files(dataset_dir: Path) -> None:
    if not os.path.isdir(dataset_dir):
        raise InputError(f"dataset_dir {dataset_dir} is not a folder; give the folder the datalist's paths start from")
    try:
        empty = not any(dataset_dir.iterdir())
    except OSError as error:
        raise InputError(
            f"dataset_dir {dataset_dir} cannot be read ({error.strerror}); check its permissions"
        ) from error
    if empty:
        raise InputError(f"dataset_dir {dataset_dir} is empty; put the data there or give another folder")


def _entries(
    content: dict[str, Any], key: str, datalist: Path, paths: DatalistPaths, needs_label: bool = False
) -> list[dict[str, str]]:
    """The items listed under `key`, with absolute paths; an entry which is only a path is an image."""
    if not isinstance(content.get(key), list):
        raise InputError(f'datalist {datalist} lacks the list "{key}"; add it')
    items = []
    for number, entry in enumerate(content[key]):
        where = f'{datalist}: entry {number} of "{key}"'
        files = {"image": entry} if isinstance(entry, str) else entry
        if not isinstance(files, dict) or files.get("image") is None:
            raise InputError(f'{where} lacks "image"; write {{"image": path, "label": path}}')
        if needs_label and files.get("label") is None:
            raise InputError(f'{where} lacks "label"; add it or move the image to "training"')
        used = (name for name in ("image", "label") if files.get(name) is not None)
        items.append({name: paths.find(files[name], where) for name in used})
    _require_distinct([item["image"] for item in items], f'{datalist}: "{key}"')
    names = ("group", "volume", "set") if key == "test" else ("group", "volume")
    return _with_names(items, content, key, names, datalist)


def _without_label(item: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in item.items() if key != "label"}


def _with_names(
    items: list[dict[str, str]], content: dict[str, Any], key: str, names: Sequence[str], datalist: Path
) -> list[dict[str, str]]:
    """Items with what their entries name: given for all of them or for none, so that batches have equal keys."""
    for name in names:
        given = [entry.get(name) if isinstance(entry, dict) else None for entry in content[key]]
        for number, value in enumerate(given):
            if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
                raise InputError(f'{datalist}: entry {number} of "{key}" has the "{name}" {shown(value)}; write a name')
        if given and all(value not in (None, "") for value in given):
            items = [item | {name: str(value)} for item, value in zip(items, given, strict=True)]
    return items


def _require_distinct(images: list[str], where: str) -> None:
    seen = set()
    for image in images:
        if image in seen:
            raise InputError(f"{where} lists {image} twice; remove one")
        seen.add(image)


def _labelling_order(
    content: dict[str, Any], training: list[dict[str, str]], datalist: Path, paths: DatalistPaths
) -> tuple[list[str], dict[str, int]]:
    """The training images with a label in the order in which they get it, and how many of them each subset takes."""
    with_label = {item["image"]: None for item in training if "label" in item}
    subsets = content.get("labelled_subsets", {})
    if not isinstance(subsets, dict) or not all(isinstance(images, list) for images in subsets.values()):
        raise InputError(f'{datalist}: "labelled_subsets" must map names such as "10%" to lists of image paths')

    order: dict[str, None] = {}
    smaller = None
    for name in sorted(subsets, key=lambda name: len(subsets[name])):
        where = f'{datalist}: labelled_subsets "{name}"'
        images = [paths.find(image, where) for image in subsets[name]]
        _require_distinct(images, where)
        for image in images:
            if image not in with_label:
                raise InputError(f'{where} holds {image}, which "training" lacks or gives no label; correct either')
        if missing := order.keys() - set(images):
            raise InputError(f'{where} lacks {min(missing)} of the smaller "{smaller}"; subsets must be nested')
        order |= dict.fromkeys(images)
        smaller = name
    return list(order | with_label), {name: len(images) for name, images in subsets.items()}


def _labelled_count(labelled: str | int, subset_sizes: dict[str, int], available: int) -> int:
    """How many images `labelled` asks for, of those `available`."""
    if isinstance(labelled, int) and not isinstance(labelled, bool):
        count = labelled
    elif labelled == "all":
        count = available
    elif isinstance(labelled, str) and labelled in subset_sizes:
        count = subset_sizes[labelled]
    elif percentage := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?%", str(labelled)):
        count = math.ceil(Fraction(percentage[1]) / 100 * available)
    else:
        names = "".join(f', "{name}"' for name in subset_sizes)
        raise InputError(f'labelled is {labelled!r}; give "all", a count such as 20, a percentage such as "10%"{names}')
    if not 1 <= count <= available:
        raise InputError(f"labelled={labelled} asks for {count} labelled images; give 1 to {available}")
    return count
