"""Find files and folders whatever their case and spaces, and report what is there when nothing fits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from custom.errors import InputError
from custom.files import is_system_file, name_key
from custom.pixels.formats import IMAGE_SUFFIXES, has_suffix
from custom.prepare.records import OpenedSource

__all__ = ["PairOfFolders", "files_in", "list_files", "lone_folders", "nothing_found", "pairs_of_folders", "walk"]


@dataclass(frozen=True)
class PairOfFolders:
    """A folder of images and the folder of their masks beside it."""

    images: Path
    masks: Path

    @property
    def parent(self) -> Path:
        """The folder both lie in."""
        return self.images.parent


def pairs_of_folders(folder: Path, image_names: Sequence[str], mask_names: Sequence[str]) -> list[PairOfFolders]:
    """Every folder of images, by any of the names in any case, which has a folder of masks beside it."""
    pairs = []
    for place, names, _ in walk(folder):
        images = _first_of(image_names, names)
        masks = _first_of(mask_names, names)
        if images is not None and masks is not None:
            pairs.append(PairOfFolders(Path(place, images), Path(place, masks)))
    return sorted(pairs, key=lambda pair: pair.images)


def lone_folders(folder: Path, names: Sequence[str], taken: Iterable[Path]) -> list[Path]:
    """Folders by any of the names in any case, neither among nor below nor above those that are `taken`."""
    keys, taken = set(map(name_key, names)), set(taken)
    above = {parent for path in taken for parent in path.parents}
    lone = []
    for place, folders, _ in walk(folder):
        for path in (Path(place, name) for name in folders if name_key(name) in keys):
            if path not in above and taken.isdisjoint((path, *path.parents)):
                taken.add(path)
                lone.append(path)
    return lone


def list_files(folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> list[Path]:
    """All files below `folder` with one of the suffixes, in any case, by path; system files are left out.

    Raises:
        InputError: a folder cannot be read.
    """
    files = (Path(place, name) for place, _, names in walk(folder) for name in names)
    return sorted(path for path in files if has_suffix(path, suffixes))


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """`os.walk` in order, without hidden and system entries; links are followed, each folder once and never upwards.

    Raises:
        InputError: a folder cannot be read.
    """
    root = os.path.realpath(folder)
    seen = {str(parent) for parent in Path(root).parents}
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not is_system_file(name))
        yield place, folders, sorted(name for name in files if not is_system_file(name))


def files_in(folder: Path) -> list[Path]:
    """All files below `folder` of whatever kind, by path; system files are left out."""
    return list_files(folder, suffixes=("",))


def nothing_found(sources: Sequence[OpenedSource], dataset: str, layout: str) -> InputError:
    """An error which names what was looked for and what is there instead."""
    there = "; ".join(f"{source.given} holds {_described(source.folder)}" for source in sources)
    return InputError(f"not the data set {dataset}: looked for {layout}; {there}. Give the right --source or data set")


def _first_of(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    by_key = {name_key(name): name for name in reversed(names)}
    return next((by_key[name_key(name)] for name in wanted if name_key(name) in by_key), None)


def _described(folder: Path) -> str:
    """The first entries of `folder` and how many files of which kind lie below it."""
    entries = sorted(entry.name for entry in folder.iterdir() if not is_system_file(entry)) if folder.is_dir() else []
    kinds = Counter(path.suffix.strip().lower() or "no suffix" for path in files_in(folder))
    shown = ", ".join(entries[:5]) + (", ..." if len(entries) > 5 else "")
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(4))
    return f"{shown or 'nothing'} ({counts or 'no files'})"


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read ({error.strerror}); check its permissions") from error
