"""ACDC as the challenge distributes it: two NIfTI volumes per patient with their ground truth, cut into slices."""

from __future__ import annotations

import re
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from custom.errors import InputError, short_reason
from custom.files import require_regular_file
from custom.prepare.listing import list_files, nothing_found
from custom.prepare.records import Found, Record, Request, Source
from custom.prepare.sources.published import published_names

__all__ = ["ACDC"]

WINDOW = (0.5, 99.5)
"""Percentiles of a volume's intensities that become black and white."""

_VOLUME = re.compile(r"(patient\d+)_frame(\d+)(_gt)?\.nii(\.gz)?", re.IGNORECASE)
_MOST_VOXELS = 100_000_000
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
        found.records += _write_slices(key, path, truths.get(key), split, request.workspace)
    found.notes.append(
        f"{len(volumes)} volumes; each is windowed to 8 bits from its {WINDOW[0]} to its {WINDOW[1]} percentile."
    )
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


def _write_slices(
    key: tuple[str, str], volume_path: Path, truth_path: Path | None, split: str | None, workspace: Path
) -> list[Record]:
    volume = _window(_read_volume(volume_path))
    truth = None if truth_path is None else _read_truth(truth_path, volume.shape)
    patient, frame = key
    records = []
    for number in range(volume.shape[2]):
        name = f"{patient}_frame{frame}_slice_{number}"
        image_path, mask_path = workspace / f"{name}.png", workspace / f"{name}_mask.png"
        Image.fromarray(np.ascontiguousarray(volume[:, :, number].T)).save(image_path)
        if truth is not None:
            Image.fromarray(np.ascontiguousarray(truth[:, :, number].T)).save(mask_path)
        records.append(Record(name, image_path, () if truth is None else (mask_path,), group=patient, split=split))
    return records


def _read_volume(path: Path) -> NDArray[np.float32]:
    """Intensities [x, y, slices]."""
    require_regular_file(path)
    try:
        volume = nibabel.load(path)
        if len(volume.shape) != 3 or np.prod(volume.shape, dtype=float) > _MOST_VOXELS:
            raise InputError(f"{path} has the shape {volume.shape}, expected width, height, slices; check the file")
        values = volume.get_fdata(dtype=np.float32)
    except InputError:
        raise
    except Exception as error:  # nibabel passes on the errors of gzip, zlib and numpy
        raise InputError(f"{path} cannot be read as NIfTI; download it again ({short_reason(error)})") from error
    if not np.isfinite(values).all():
        raise InputError(f"{path} holds values that are no numbers; download it again")
    return values


def _read_truth(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Class indices [x, y, slices]."""
    truth = _read_volume(path)
    if truth.shape != shape:
        raise InputError(f"{path} has the shape {truth.shape}, its volume {shape}; download both again")
    if not np.isin(truth, range(len(ACDC.class_names))).all():
        raise InputError(f"{path} holds values other than 0 to 3; download it again")
    return truth.astype(np.uint8)


def _window(volume: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(volume, WINDOW)
    scaled = (volume - low) / max(high - low, 1e-6)
    return np.rint(scaled.clip(0, 1) * 255).astype(np.uint8)


ACDC = Source(
    name="acdc",
    title="ACDC, cardiac MRI",
    layout="volumes such as patient001_frame01.nii.gz with patient001_frame01_gt.nii.gz",
    find=find_acdc,
    short_name="ACDC",
    class_names=("background", "right ventricle", "myocardium", "left ventricle"),
    masks="indices",
)
