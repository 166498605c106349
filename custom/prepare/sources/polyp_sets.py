"""The five public sets of polyp images, each as it is distributed: a folder of images and one of masks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from custom.prepare.listing import PairOfFolders, list_files, nothing_found, pairs_of_folders
from custom.prepare.pairing import pair_by_name, relative_name
from custom.prepare.records import Found, OpenedSource, Record, Request, Source

__all__ = ["IMAGE_FOLDERS", "MASK_FOLDERS", "POLYP_SETS", "SINGLE_SETS", "PolypSet", "find_set", "records_of"]

IMAGE_FOLDERS = ("images", "image", "original", "bbdd", "ETIS-LaribPolypDB")
MASK_FOLDERS = ("masks", "mask", "ground truth", "ground_truth", "groundtruth", "gt", "gtpolyp")


@dataclass(frozen=True)
class PolypSet:
    """What distinguishes a set from the others.

    Attributes:
        name: as folders and reports call it.
        count: number of images.
        path_words: one of them occurs in the path of the set's files, in lower case without "-", "_" and spaces.
        file_name: pattern of its image names, without suffix.
    """

    name: str
    count: int
    path_words: tuple[str, ...]
    file_name: str


POLYP_SETS = (
    PolypSet("Kvasir", 1000, ("kvasir",), r"c[jk]\w{6,}"),
    PolypSet("CVC-ClinicDB", 612, ("clinicdb", "cvc612"), r"\d+"),
    PolypSet("CVC-300", 60, ("cvc300", "endoscene"), r"\d+"),
    PolypSet("CVC-ColonDB", 380, ("colondb",), r"\w*\d+"),
    PolypSet("ETIS-LaribPolypDB", 196, ("etis",), r"\w*\d+"),
)
_COMMAND_NAMES = {"kvasir": 0, "clinicdb": 1, "cvc300": 2, "colondb": 3, "etis": 4}


def find_set(polyp_set: PolypSet, sources: Sequence[OpenedSource], needs_path_word: bool) -> Found | None:
    """The set's records, if it is there.

    Args:
        polyp_set: the set.
        sources: where to look; their own names count as part of the path.
        needs_path_word: only take a folder which names the set; else one that names no other set will do.
    """
    candidates = []
    for source in sources:
        for pair in pairs_of_folders(source.folder, IMAGE_FOLDERS, MASK_FOLDERS):
            named = _named_set(Path(source.given.name, pair.images.relative_to(source.folder)))
            if (named is polyp_set or (named is None and not needs_path_word)) and _fits(polyp_set, pair):
                candidates.append((named is not polyp_set, "tif" in pair.images.parent.name.lower(), pair))
    if not candidates:
        return None
    _, _, pair = min(candidates, key=lambda candidate: candidate[:2])  # the one that is named, PNG before TIF
    found = records_of(pair, polyp_set.name)
    if len(found.records) != polyp_set.count:
        found.warnings.append(f"{polyp_set.name} has {polyp_set.count} images, {len(found.records)} were found.")
    return found


def records_of(pair: PairOfFolders, set_name: str | None, split: str | None = None) -> Found:
    """Records of a folder of images and its masks. ETIS calls the mask of `1.tif` `p1.tif`."""
    masks = list_files(pair.masks)
    names = {mask: relative_name(mask, pair.masks) for mask in masks}
    if any(mask.stem[1:].isdigit() and mask.stem[0] == "p" for mask in masks):
        names = {mask: re.sub(r"(^|/)[^/]([^/]*)$", r"\1\2", name) for mask, name in names.items()}
    pairing = pair_by_name(list_files(pair.images), masks, pair.images, pair.masks, name_of=names)
    records = [Record(name, image, masks, split=split, set_name=set_name) for name, image, masks in pairing.images]
    return Found(records, pairing.masks_without_image)


def _named_set(path: Path) -> PolypSet | None:
    """The set whose word stands deepest in the path."""
    for part in reversed(path.parts):
        plain = re.sub(r"[-_\s]", "", part.lower())
        for polyp_set in POLYP_SETS:
            if any(word in plain for word in polyp_set.path_words):
                return polyp_set
    return None


def _fits(polyp_set: PolypSet, pair: PairOfFolders) -> bool:
    names = [path.stem.strip() for path in list_files(pair.images)]
    return bool(names) and all(re.fullmatch(polyp_set.file_name, name, re.IGNORECASE) for name in names)


def _find_single(request: Request, polyp_set: PolypSet, dataset: str) -> Found:
    found = find_set(polyp_set, request.sources, needs_path_word=False)
    if found is None:
        raise nothing_found(request.sources, dataset, _layout(polyp_set))
    return found


def _layout(polyp_set: PolypSet) -> str:
    example = "cju0qkwl35piu0993l0dewei2" if polyp_set.name == "Kvasir" else "1"
    return f'the folders "images" and "masks" (or "Original" and "Ground Truth") with files such as {example}'


SINGLE_SETS = tuple(
    Source(
        name=command_name,
        title=f"{POLYP_SETS[number].name}, colonoscopy",
        layout=_layout(POLYP_SETS[number]),
        short_name=POLYP_SETS[number].name,
        find=partial(_find_single, polyp_set=POLYP_SETS[number], dataset=command_name),
        class_names=("background", "polyp"),
        one_connected_component=True,
    )
    for command_name, number in _COMMAND_NAMES.items()
)
