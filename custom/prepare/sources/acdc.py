"""ACDC as the challenge distributes it: two NIfTI volumes per patient with their ground truth, cut into slices."""

from __future__ import annotations

import re
from pathlib import Path

from tqdm import tqdm

from custom.errors import InputError
from custom.prepare.listing import list_files, nothing_found
from custom.prepare.records import Found, Request, Source
from custom.prepare.sources.published import published_names
from custom.prepare.volumes import cut_volume, describe_cut

__all__ = ["ACDC"]

_VOLUME = re.compile(r"(patient\d+)_frame(\d+)(_gt)?\.nii(\.gz)?", re.IGNORECASE)
_PATIENTS_OF_THE_LISTS = {f"patient{number:03d}" for number in range(1, 101)}


def find_acdc(request: Request) -> Found:
    """Write the slices of every volume. Slices of one patient make a group."""
    volumes, truths = _find_volumes(request)
    patients = {patient for patient, _ in volumes}
    use_published = request.published_split and patients >= _PATIENTS_OF_THE_LISTS
    found = Found([], [path for key, path in truths.items() if key not in volumes])
    if use_published:
        _note_published(found, patients)
        volumes = {key: path for key, path in volumes.items() if key[0] in _PATIENTS_OF_THE_LISTS}
    elif request.published_split:
        absent = len(_PATIENTS_OF_THE_LISTS - patients)
        found.warnings.append(f"{absent} of the 100 patients of the published split are missing: seeded split.")
    split_of = _published_split() if use_published else {}
    for key, path in tqdm(sorted(volumes.items()), "cutting volumes", disable=None if request.show_progress else True):
        split = split_of.get(key[0], "training") if use_published else None
        truth = truths.get(key)
        masks = () if truth is None else (truth,)
        name, patient = f"{key[0]}_frame{key[1]}", key[0]
        found.records += cut_volume(
            path, masks, request.workspace, name, patient, split, request.window, "{name}_slice_{number}"
        )
    found.notes.append(describe_cut(len(volumes), request.window))
    return found


def _find_volumes(request: Request) -> tuple[dict[tuple[str, str], Path], dict[tuple[str, str], Path]]:
    """Volumes and ground truths by (patient, frame)."""
    volumes: dict[tuple[str, str], Path] = {}
    truths: dict[tuple[str, str], Path] = {}
    for source in request.sources:
        for path in list_files(source.folder, (".nii", ".nii.gz")):
            if match := _VOLUME.fullmatch(path.name.strip()):
                key = (match[1].lower(), match[2])
                files = truths if match[3] else volumes
                if files.setdefault(key, path) is not path:
                    raise InputError(f"{path} and {files[key]} are one volume twice; give one copy of the data set")
    if not volumes or not truths:
        raise nothing_found(request.sources, ACDC.name, ACDC.layout)
    return volumes, truths


def _published_split() -> dict[str, str]:
    names = published_names("acdc")
    return {patient: split for split in ("validation", "test") for patient in names[split]}


def _note_published(found: Found, patients: set[str]) -> None:
    labelled = published_names("acdc")["labelled"]
    found.labelled_groups = {f"{count} patients": labelled[:count] for count in (3, 7, 14)}
    found.notes.append("Split: 70 patients for training, 10 for validation, 20 for test, as in SSL4MIS and DiffRect.")
    if others := len(patients - _PATIENTS_OF_THE_LISTS):
        found.warnings.append(f"{others} patients are in no list of that split and left out; --seeded-split uses all.")


ACDC = Source(
    name="acdc",
    title="ACDC, cardiac MRI",
    layout="volumes such as patient001_frame01.nii.gz with patient001_frame01_gt.nii.gz",
    find=find_acdc,
    short_name="ACDC",
    class_names=("background", "right ventricle", "myocardium", "left ventricle"),
    masks="indices",
)
