"""Find files and folders whatever their case and spaces, and say what is there when nothing fits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from custom.data.image_files import IMAGE_SUFFIXES
from custom.data.prepare.records import OpenedSource
from custom.errors import InputError

__all__ = ["PairOfFolders", "key_of", "list_files", "nothing_found", "pair_by_name", "pairs_of_folders"]

_MASK_ENDINGS = ("_mask", "-mask", " mask", "_segmentation", "_seg", "_gt", "_label", "_labels", "_anno")


@dataclass(frozen=True)
class PairOfFolders:
    """A folder of images and the folder of their masks beside it."""

    images: Path
    masks: Path

    @property
    def parent(self) -> Path:
        """The folder both lie in."""
        return self.images.parent


def list_files(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """All files below `folder` with one of the suffixes, in any case, by path; hidden ones are left out."""
    files = (Path(place, name) for place, _, names in _walk(folder) for name in names)
    return sorted(path for path in files if path.name.strip().lower().endswith(tuple(suffixes)))


def pairs_of_folders(folder: Path, image_names: Sequence[str], mask_names: Sequence[str]) -> list[PairOfFolders]:
    """Every folder of images, by any of the names in any case, which has a folder of masks beside it."""
    pairs = []
    for place, names, _ in _walk(folder):
        images = _first_of(image_names, names)
        masks = _first_of(mask_names, names)
        if images is not None and masks is not None:
            pairs.append(PairOfFolders(Path(place, images), Path(place, masks)))
    return sorted(pairs, key=lambda pair: pair.images)


def pair_by_name(
    images: Iterable[Path], masks: Iterable[Path], image_folder: Path, mask_folder: Path
) -> tuple[list[tuple[str, Path, Path | None]], list[Path]]:
    """Give each image its mask: that of the same name, or of the same name with an ending such as "_mask".

    Returns:
        (name relative to the folder without suffix, image, mask or None) for each image; masks without an image.

    Raises:
        InputError: two images, or two masks, of one name.
    """
    by_key = _by_key(images, image_folder)
    mask_of: dict[str, Path] = {}
    left_over = []
    for key, mask in _by_key(masks, mask_folder).items():
        image_key = _image_key(key, by_key)
        if image_key is None:
            left_over.append(mask)
        elif image_key in mask_of:
            raise InputError(f"{mask} and {mask_of[image_key].name} are both masks of one image; remove one")
        else:
            mask_of[image_key] = mask
    return [(_relative_name(image, image_folder), image, mask_of.get(key)) for key, image in by_key.items()], left_over


def key_of(path: Path, folder: Path | None = None) -> str:
    """The name by which image and mask are matched: without suffix, outer spaces and case."""
    return (path.stem.strip() if folder is None else _relative_name(path, folder)).casefold()


def nothing_found(sources: Sequence[OpenedSource], dataset: str, layout: str) -> InputError:
    """An error which says what was looked for and what is there instead."""
    there = "; ".join(f"{source.given} holds {_described(source.folder)}" for source in sources)
    return InputError(f"not the data set {dataset}: looked for {layout}; {there}. Give the right --source or data set")


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` in order, without hidden entries; links are followed, each folder once."""
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        yield place, folders, sorted(name for name in files if not name.startswith("."))


def _first_of(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    by_key = {name.strip().casefold(): name for name in names}
    return next((by_key[name.casefold()] for name in wanted if name.casefold() in by_key), None)


def _relative_name(path: Path, folder: Path) -> str:
    parts = [*path.relative_to(folder).parts[:-1], path.stem]
    return "/".join(part.strip() for part in parts)


def _by_key(paths: Iterable[Path], folder: Path) -> dict[str, Path]:
    by_key: dict[str, Path] = {}
    for path in paths:
        other = by_key.setdefault(key_of(path, folder), path)
        if other is not path:
            raise InputError(f"{path} and {other.name} are two files of one name; rename one or remove it")
    return by_key


def _image_key(mask_key: str, image_keys: Iterable[str]) -> str | None:
    stripped = (mask_key.removesuffix(ending) for ending in ("", *_MASK_ENDINGS))
    return next((key for key in stripped if key in image_keys), None)


def _described(folder: Path) -> str:
    """The first entries of `folder` and how many files of which kind lie below it."""
    entries = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    kinds = Counter(Path(name).suffix.lower() or "no suffix" for _, _, names in _walk(folder) for name in names)
    shown = ", ".join(entries[:5]) + (", ..." if len(entries) > 5 else "")
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
    return f"{shown or 'nothing'} ({counts or 'no files'})"
