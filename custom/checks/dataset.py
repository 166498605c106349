"""Read every file before training, so that a broken one does not stop it hours later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from custom.checks.class_shares import log_classes
from custom.checks.leaks import copies, shared_groups, shared_images, shared_masks
from custom.data.datalist import Splits, files_in_use
from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.pixels.images import MOST_BIT_DEPTH, read_image
from custom.pixels.masks import class_indices, read_mask
from custom.pixels.naming import naming
from custom.pixels.palettes import Colour, palette_conflict
from custom.volumes import is_volume, read_volume
from custom.wording import first_message

__all__ = ["check_dataset", "check_images"]


def check_dataset(
    splits: Splits,
    num_classes: int,
    ignore_value: int | None = None,
    bit_depth: int | None = MOST_BIT_DEPTH,
    show_progress: bool = True,
    workers: int = 4,
) -> None:
    """Read every image and every mask in use, just as training will, and log the classes found in the masks.

    Masks of "unlabelled" are never opened. A class which no labelled mask holds is a logged warning.

    Args:
        splits: items by split, as `load_datalist` returns them.
        num_classes: number of classes, background included.
        ignore_value: see `LoadImageAndLabeld`.
        bit_depth: see `LoadImageAndLabeld`.
        show_progress: show a progress bar, if the standard error is a terminal.
        workers: number of threads.

    Raises:
        InputError: an image, a byte-identical copy of it, or two images of one patient or slide, in two of training,
            validation and test; a mask of two
            images; two masks whose palettes disagree; a file which is missing, broken, cut short or too large; a mask
            which differs from its image in size, or holds values which are no classes. Its message names the first and
            counts the others.
    """
    items = [(split, item) for split in splits for item in files_in_use(splits, split)]
    look = partial(_look_at, num_classes=num_classes, ignore_value=ignore_value, bit_depth=bit_depth)
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(look, [item for _, item in items])
        bar = tqdm(found, "checking data", len(items), unit="item", disable=None if show_progress else True)
        problems, masks = [*shared_images(splits), *shared_groups(splits)], [*bar]
    palettes = [(item["label"], seen.colours) for (_, item), seen in zip(items, masks, strict=True) if seen.colours]
    problems += filter(None, [palette_conflict(palettes)])
    problems += [seen.problem for seen in masks if seen.problem]
    _raise_first(problems or [*shared_masks(splits), *copies(splits)])
    for split in splits:
        of_split = [seen.pixels for (its_split, _), seen in zip(items, masks, strict=True) if its_split == split]
        log_classes(split, [pixels for pixels in of_split if pixels is not None], warn=split == "labelled")


def check_images(items: Sequence[Mapping[str, str]], bit_depth: int | None = MOST_BIT_DEPTH, workers: int = 4) -> None:
    """Decode the images and volumes to predict before anything is predicted.

    Args:
        items: data items with an "image".
        bit_depth: see `LoadImageAndLabeld`.
        workers: number of threads; volumes are read one after another, since they may be large.

    Raises:
        InputError: an image cannot be read. Its message names the first and counts the others.
    """
    with ThreadPoolExecutor(1 if any(is_volume(item["image"]) for item in items) else workers) as pool:
        look = partial(_look_at, num_classes=2, ignore_value=None, bit_depth=bit_depth)
        found = pool.map(look, [{"image": item["image"]} for item in items])
        bar = tqdm(found, "checking images", len(items), unit="image", disable=None)
        _raise_first([seen.problem for seen in bar if seen.problem])


@dataclass(frozen=True)
class _Seen:
    """What was found in the files of an item.

    Attributes:
        problem: what is wrong, in one line; None if nothing is.
        pixels: pixels of each class of the mask.
        colours: the colours of the mask's palette indices, if it has a palette.
    """

    problem: str | None = None
    pixels: NDArray[np.int64] | None = None
    colours: Mapping[int, Colour] | None = None


def _look_at(item: dict[str, str], num_classes: int, ignore_value: int | None, bit_depth: int | None) -> _Seen:
    colours = None
    try:
        if is_volume(item["image"]):
            read_volume(item["image"])
            return _Seen()
        image = read_image(item["image"], bit_depth)
        if "label" not in item:
            return _Seen()
        mask = read_mask(item["label"])
        mask, colours = mask.turned(mask.orientation), mask.colours
        with naming(item["label"]):
            indices = class_indices(mask, num_classes, ignore_value)
    except InputError as error:
        return _Seen(str(error), colours=colours)
    if image.size != mask.size:
        sizes = f"{mask.size[0]}x{mask.size[1]} pixels, its image {item['image']} {image.width}x{image.height}"
        return _Seen(f"{item['label']} has {sizes}; give both the same size", colours=colours)
    return _Seen(None, np.bincount(indices.ravel(), minlength=IGNORED_LABEL + 1)[:num_classes], colours)


def _raise_first(problems: Sequence[str]) -> None:
    if problems:
        raise InputError(first_message(problems))
