"""The polyp benchmark of PraNet: training on Kvasir-SEG and CVC-ClinicDB, tests on up to five sets.

Read are the two archives of PraNet, or the separate sets, split by PraNet's test names.
"""

from __future__ import annotations

import re
from dataclasses import replace

from custom.errors import InputError
from custom.prepare.listing import PairOfFolders, nothing_found, pairs_of_folders
from custom.prepare.records import Found, Record, Release, Request, Source
from custom.prepare.sources.polyp_sets import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    POLYP_SETS,
    PolypSet,
    find_set,
    records_of,
)
from custom.prepare.sources.published import published_names

__all__ = ["POLYP"]

_KVASIR, _CLINIC = POLYP_SETS[:2]
_TRAINING_SETS = (_KVASIR, _CLINIC)


def find_polyp(request: Request) -> Found:
    """PraNet's own folders if there are any, else the separate sets."""
    pairs = [
        pair for source in request.sources for pair in pairs_of_folders(source.folder, IMAGE_FOLDERS, MASK_FOLDERS)
    ]
    training = [pair for pair in pairs if pair.parent.name.lower() == "traindataset"]
    tests = [pair for pair in pairs if pair.parent.parent.name.lower() == "testdataset"]
    if training:
        found = _find_pranet(training[0], tests)
    elif tests:
        raise InputError("polyp: TestDataset is there, TrainDataset is not; give it as a second --source")
    else:
        found = _find_separate(request)
    if not request.published_split:
        found.records = [replace(record, split=None) for record in found.records]
    return found


def _find_pranet(training: PairOfFolders, tests: list[PairOfFolders]) -> Found:
    found = records_of(training, None, split="training")
    found.records = [_in_set(record, _set_of_training_name(record.name)) for record in found.records]
    for pair in tests:
        test = records_of(pair, None, split="test")
        found.records += [_in_set(record, pair.parent.name) for record in test.records]
        found.masks_without_image += test.masks_without_image
    if tests:
        found.notes.append(f"Split: PraNet's TrainDataset and TestDataset ({', '.join(p.parent.name for p in tests)}).")
    else:
        found.warnings.append("TestDataset is not there: test images are held out of TrainDataset, seeded.")
        found.records = [replace(record, split=None) for record in found.records]
    return found


def _find_separate(request: Request) -> Found:
    parts = {polyp_set: find_set(polyp_set, request.sources, needs_path_word=True) for polyp_set in POLYP_SETS}
    parts = {polyp_set: part for polyp_set, part in parts.items() if part is not None}
    if not any(polyp_set in parts for polyp_set in _TRAINING_SETS):
        raise nothing_found(request.sources, POLYP.name, POLYP.layout)
    test_names = published_names("polyp")
    found = Found(
        [], notes=[f"Sets: {', '.join(polyp_set.name for polyp_set in parts)}; split by PraNet's test names."]
    )
    for polyp_set, part in parts.items():
        found.records += _split_by_names(polyp_set, part, set(test_names.get(polyp_set.name, ())), request, found)
        found.masks_without_image += part.masks_without_image
        found.warnings += part.warnings
    return found


def _split_by_names(
    polyp_set: PolypSet, part: Found, test_names: set[str], request: Request, found: Found
) -> list[Record]:
    """The set's records, marked for training or test; CVC-300 has images beyond the 60 of the test: left out."""
    names = {record.name.lower() for record in part.records}
    if missing := sorted(test_names - names):
        line = f"{polyp_set.name} lacks {len(missing)} of PraNet's {len(test_names)} test images, first {missing[0]}"
        if polyp_set in _TRAINING_SETS and request.published_split:
            raise InputError(f"{line}; give the whole set, or --seeded-split")
        found.warnings.append(f"{line}.")
    if polyp_set in _TRAINING_SETS:
        return [
            _in_set(replace(record, split="test" if record.name.lower() in test_names else "training"), polyp_set.name)
            for record in part.records
        ]
    kept = [record for record in part.records if record.name.lower() in test_names or not test_names or missing]
    if len(kept) < len(part.records):
        found.notes.append(
            f"{len(part.records) - len(kept)} images of {polyp_set.name} are not in PraNet's test: left out."
        )
    return [_in_set(replace(record, split="test"), polyp_set.name) for record in kept]


def _in_set(record: Record, set_name: str) -> Record:
    return replace(record, name=f"{set_name}/{record.name}", set_name=set_name)


def _set_of_training_name(name: str) -> str:
    kvasir = re.fullmatch(_KVASIR.file_name, name, re.IGNORECASE)
    return _KVASIR.name if kvasir else _CLINIC.name


POLYP = Source(
    name="polyp",
    title="polyps after PraNet: Kvasir-SEG and CVC-ClinicDB, tests on up to five sets",
    layout="TrainDataset and TestDataset of PraNet, or folders of Kvasir-SEG and CVC-ClinicDB with these names",
    find=find_polyp,
    short_name="PraNet polyps",
    class_names=("background", "polyp"),
    one_connected_component=True,
    release=Release(1450, {"10%": 145, "20%": 290, "30%": 435}),
)
