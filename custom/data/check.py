"""Look at every file before training, so that a broken one does not stop it hours later."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tqdm import tqdm

from custom.data.leaks import copies, shared_images, shared_masks
from custom.errors import InputError
from custom.files import file_digest
from custom.transforms.loading import image_to_rgb, mask_to_classes, open_as

__all__ = ["check_dataset", "data_fingerprint"]

Splits = Mapping[str, Sequence[Mapping[str, str]]]
"""Items by split, as `load_datalist` returns them."""


def check_dataset(splits: Splits, num_classes: int, show_progress: bool = True, workers: int = 4) -> None:
    """Read every image and every mask in use, just as training will.

    Masks of "unlabelled" are never opened.

    Args:
        splits: items by split, as `load_datalist` returns them.
        num_classes: number of classes, background included.
        show_progress: show a progress bar, if the standard error is a terminal.
        workers: number of threads.

    Raises:
        InputError: an image, or a byte-identical copy of it, in two of training, validation and test; a mask of two
            images; a file which is missing, broken, cut short or too large; a mask which differs from its image in
            size, or holds values which are no classes. Its message names the first and counts the others.
    """
    items = [item for split in splits for item in _used(splits, split)]
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(partial(_problem, num_classes=num_classes), items)
        bar = tqdm(found, "checking data", len(items), unit="item", disable=None if show_progress else True)
        problems = [*shared_images(splits), *filter(None, bar)]
    problems = problems or [*shared_masks(splits), *copies(splits)]
    if problems:
        others = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(problems[0] + others)


def data_fingerprint(splits: Splits) -> str:
    """16 hexadecimal digits which change with the names, roles or contents of the files in use, and only with these.

    Names count relative to the folder which all files share: moving the data as a whole changes nothing.
    """
    files = [(split, key, path) for split in splits for item in _used(splits, split) for key, path in item.items()]
    folder = os.path.commonpath([os.path.dirname(path) for _, _, path in files])
    with ThreadPoolExecutor() as pool:
        digests = pool.map(file_digest, [path for _, _, path in files])
        lines = [
            f"{split} {key} {Path(path).relative_to(folder).as_posix()} {digest}\n"
            for (split, key, path), digest in zip(files, digests, strict=True)
        ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:16]


def _used(splits: Splits, split: str) -> Iterator[dict[str, str]]:
    """The items of `split`, with only those files which training may read."""
    keys = ("image",) if split == "unlabelled" else ("image", "label")
    for item in splits[split]:
        yield {key: item[key] for key in keys if key in item}


def _problem(item: dict[str, str], num_classes: int) -> str | None:
    """What is wrong with the files of `item`, in one line; None if all is well."""
    try:
        image = open_as(item["image"], image_to_rgb)
        if "label" not in item:
            return None
        mask = open_as(item["label"], partial(mask_to_classes, num_classes=num_classes))
    except InputError as error:
        return str(error)
    if image.size != mask.size:
        sizes = f"{mask.width}x{mask.height} pixels, its image {item['image']} {image.width}x{image.height}"
        return f"{item['label']} has {sizes}; give both the same size"
    return None
