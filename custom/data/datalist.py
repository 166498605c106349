"""Which images are labelled, unlabelled, for validation and for test: read from a Decathlon-style datalist."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from custom.errors import InputError
from custom.pixels.images import LEAST_BIT_DEPTH, MOST_BIT_DEPTH

__all__ = ["load_datalist", "read_bit_depth", "read_ignore_value", "read_num_classes"]

logger = logging.getLogger(__name__)


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

    MONAI's own reader is not used because it neither checks the entries nor keeps paths inside `dataset_dir`.

    Args:
        datalist: the JSON file.
        dataset_dir: the folder its paths are relative to. Links below it are followed.
        labelled: "all" for every training image with a label; the name of a listed subset; another percentage of the
            training images with a label, rounded up; or a count. Counts and unlisted percentages take images from the
            listed subsets first, in ascending order, then in file order: a larger number contains the smaller.
        use_unlabelled: False leaves "unlabelled" empty, to train on labels only.

    Returns:
        The items of "labelled", "unlabelled", "validation" and "test", with absolute paths under "image" and "label".
        Items of "unlabelled" have no "label", so that a mask which counts as missing cannot be opened by mistake. Test
        items keep the name of their "set", if all have one, for scores of each set.

    Raises:
        InputError: the file, the folder, an entry or `labelled` is wrong.
    """
    datalist, dataset_dir = Path(datalist), Path(os.path.abspath(dataset_dir))
    content = _read_json(datalist)
    _require_files(dataset_dir)

    training = _entries(content, "training", datalist, dataset_dir)
    order, subset_sizes = _labelling_order(content, training, datalist, dataset_dir)
    if not order:
        raise InputError(f'{datalist}: no entry of "training" has a "label"; label at least one image')
    count = _labelled_count(labelled, subset_sizes, len(order))
    chosen = set(order[:count])
    by_image = {item["image"]: item for item in training}
    unlabelled = [{"image": image} for image in by_image if image not in chosen] if use_unlabelled else []
    if use_unlabelled and not unlabelled:
        logger.warning("%s leaves no unlabelled image: training uses labels only", datalist)
    return {
        "labelled": [by_image[image] for image in order[:count]],
        "unlabelled": unlabelled,
        "validation": _entries(content, "validation", datalist, dataset_dir, needs_label=True),
        "test": _test_entries(content, datalist, dataset_dir) if "test" in content else [],
    }


def read_num_classes(datalist: str | os.PathLike) -> int:
    """Number of classes, with the background, which a datalist states under "num_classes"; 2 where it states none.

    Raises:
        InputError: the file cannot be read, or it states something else than an integer of at least 2.
    """
    classes = _read_json(Path(datalist)).get("num_classes", 2)
    if not isinstance(classes, int) or isinstance(classes, bool) or classes < 2:
        raise InputError(f'{datalist}: "num_classes" is {classes!r}; give the number of classes with the background')
    return classes


def read_ignore_value(datalist: str | os.PathLike) -> int | None:
    """Value of undecided pixels in the masks, which a datalist states under "ignore_value"; None where it states none.

    Raises:
        InputError: the file cannot be read, or it states something else than an integer from 1 to 65535.
    """
    return _integer(datalist, "ignore_value", 1, 65535, "the value that undecided pixels have in the masks")


def read_bit_depth(datalist: str | os.PathLike) -> int | None:
    """Bits that the 16-bit images really use, which a datalist states under "bit_depth"; None where it states none.

    Raises:
        InputError: the file cannot be read, or it states something else than an integer from 8 to 16.
    """
    return _integer(datalist, "bit_depth", LEAST_BIT_DEPTH, MOST_BIT_DEPTH, "the bits that its 16-bit images use")


def _integer(datalist: str | os.PathLike, key: str, least: int, most: int, meaning: str) -> int | None:
    value = _read_json(Path(datalist)).get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InputError(f'{datalist}: "{key}" is {value!r}; give {meaning}, {least} to {most}, or leave it out')
    return value


def _read_json(datalist: Path) -> dict[str, Any]:
    if not datalist.is_file():
        raise InputError(f"datalist {datalist} does not exist; give the path of a datalist JSON file")
    try:
        content = json.loads(datalist.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"datalist {datalist} is not JSON ({error}); correct the file") from error
    if not isinstance(content, dict):
        raise InputError(f'datalist {datalist} must be a JSON object with "training" and "validation"')
    return content


def _require_files(dataset_dir: Path) -> None:
    if not dataset_dir.is_dir():
        raise InputError(f"dataset_dir {dataset_dir} is not a folder; give the folder the datalist's paths start from")
    if not any(dataset_dir.iterdir()):
        raise InputError(f"dataset_dir {dataset_dir} is empty; put the data there or give another folder")


def _entries(
    content: dict[str, Any], key: str, datalist: Path, dataset_dir: Path, needs_label: bool = False
) -> list[dict[str, str]]:
    """The items listed under `key`, with absolute paths; an entry which is a mere path is an image."""
    if not isinstance(content.get(key), list):
        raise InputError(f'datalist {datalist} lacks the list "{key}"; add it')
    items = []
    for number, entry in enumerate(content[key]):
        where = f'{datalist}: entry {number} of "{key}"'
        paths = {"image": entry} if isinstance(entry, str) else entry
        if not isinstance(paths, dict) or paths.get("image") is None:
            raise InputError(f'{where} lacks "image"; write {{"image": path, "label": path}}')
        if needs_label and paths.get("label") is None:
            raise InputError(f'{where} lacks "label"; add it or move the image to "training"')
        used = (name for name in ("image", "label") if paths.get(name) is not None)
        items.append({name: _absolute(paths[name], dataset_dir, where) for name in used})
    _require_distinct([item["image"] for item in items], f'{datalist}: "{key}"')
    return items


def _test_entries(content: dict[str, Any], datalist: Path, dataset_dir: Path) -> list[dict[str, str]]:
    """Test items with the names of their sets: given for all of them or for none, so that batches have equal keys."""
    items = _entries(content, "test", datalist, dataset_dir)
    if not all(isinstance(entry, dict) and entry.get("set") for entry in content["test"]):
        return items
    return [item | {"set": str(entry["set"])} for item, entry in zip(items, content["test"], strict=True)]


def _absolute(path: Any, dataset_dir: Path, where: str) -> str:
    """`path` below `dataset_dir`, without "..", so that a datalist from elsewhere cannot point at other files."""
    if not isinstance(path, str):
        raise InputError(f"{where} holds {path!r} for a path; write a text")
    absolute = os.path.normpath(dataset_dir / path)
    below = Path(absolute).is_relative_to(dataset_dir)
    if not below and not Path(absolute).resolve().is_relative_to(dataset_dir.resolve()):
        raise InputError(f"{where}: {path} lies outside dataset_dir {dataset_dir}; give a path relative to it")
    return absolute


def _require_distinct(images: list[str], where: str) -> None:
    seen = set()
    for image in images:
        if image in seen:
            raise InputError(f"{where} lists {image} twice; remove one")
        seen.add(image)


def _labelling_order(
    content: dict[str, Any], training: list[dict[str, str]], datalist: Path, dataset_dir: Path
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
        images = [_absolute(image, dataset_dir, where) for image in subsets[name]]
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
    elif labelled in subset_sizes:
        count = subset_sizes[labelled]
    elif percentage := re.fullmatch(r"(\d+(?:\.\d+)?) ?%", str(labelled)):
        count = math.ceil(Fraction(percentage[1]) / 100 * available)
    else:
        names = "".join(f', "{name}"' for name in subset_sizes)
        raise InputError(f'labelled is {labelled!r}; give "all", a count such as 20, a percentage such as "10%"{names}')
    if not 1 <= count <= available:
        raise InputError(f"labelled={labelled} asks for {count} labelled images; give 1 to {available}")
    return count
