"""DICOM: a file with one or many frames, or a folder that is a series."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from highdicom.image import Image
from monai.data.utils import orientation_ras_lps
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from custom.errors import InputError
from custom.files import is_system_file
from custom.volumes.volume import Volume, require_voxels_at_most

__all__ = ["is_series", "read_dicom", "read_series", "sources_in"]

logging.getLogger("highdicom").setLevel(logging.WARNING)  # else it logs every part that it copies

_SETTINGS = {"dtype": np.float32, "apply_presentation_lut": False, "apply_icc_profile": False}
_STATED = ("SeriesInstanceUID", "ImagePositionPatient")


def read_dicom(path: Path) -> Volume:
    """The volume of a DICOM file, or of a series in a folder.

    highdicom and pydicom decompress, turn YBR and palettes into RGB, apply rescale slope and intercept, and sort the
    slices by their positions. A window of the file itself is not applied; MONOCHROME1 is left to `windowed`.

    Raises:
        InputError: no DICOM, no pixels, or slices that form no volume.
        Exception: decoders raise errors of many kinds for a broken file.
    """
    return _read_series(read_series(path)) if path.is_dir() else _read_file(path)


def read_series(folder: Path) -> list[Dataset]:
    """The data sets of a series.

    Raises:
        InputError: the files are of several series.
    """
    files = sorted(entry for entry in folder.iterdir() if not is_system_file(entry))
    datasets = [pydicom.dcmread(file) for file in files]
    if len({dataset.get("SeriesInstanceUID") for dataset in datasets}) > 1:
        raise InputError("the folder holds files of several DICOM series; give each series a folder of its own")
    return datasets


def is_series(files: Sequence[Path]) -> bool:
    """Whether DICOM files are slices of one volume: of one series, and each in a place of its own.

    A file that cannot be read belongs to no series: reading it by itself tells what is wrong.

    Raises:
        InputError: the slices of a volume lie among other files, so that neither can be taken for what it is.
    """
    places: dict[str, set[tuple[float, ...]]] = {}
    others = 0
    for file in files:
        try:
            stated = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_STATED))
            place = tuple(map(float, stated.ImagePositionPatient))
            places.setdefault(stated.SeriesInstanceUID, set()).add(place)
        except Exception:  # no place in a patient; or pydicom's errors of many kinds for a broken file
            others += 1
    if not any(len(of_series) > 1 for of_series in places.values()):
        return False
    if len(places) > 1 or others or len(next(iter(places.values()))) < len(files):
        count = f"{len(places)} DICOM series" if len(places) > 1 else "a DICOM series and other files"
        raise InputError(f"{files[0].parent} holds {count}; give each series a folder of its own")
    return True


def sources_in(path: str | os.PathLike[str]) -> list[Dataset]:
    """The data sets that a mask of `path` refers to."""
    path = Path(path)
    return read_series(path) if path.is_dir() else [pydicom.dcmread(path)]


def _read_series(datasets: Sequence[Dataset]) -> Volume:
    first = datasets[0]
    _require_pixels(first)
    require_voxels_at_most((first.Columns, first.Rows, len(datasets)))
    if len({(each.Rows, each.Columns) for each in datasets}) > 1:
        raise InputError("slices of several sizes in one DICOM series; give each its own folder")
    try:
        volume = highdicom.get_volume_from_series(datasets, **_SETTINGS)
    except ValueError as error:
        raise InputError(f"the DICOM series is no volume with slices at equal distances ({error})") from error
    return _from_volume(volume, first)


def _read_file(path: Path) -> Volume:
    image = highdicom.imread(path)
    _require_pixels(image)
    frames = int(image.get("NumberOfFrames", 1))
    require_voxels_at_most((image.Columns, image.Rows, frames))
    if _has_places(image) and image.get_volume_geometry() is not None:
        return _from_volume(image.get_volume(**_SETTINGS), image)
    values = np.asarray(image.get_frames(**_SETTINGS))
    spacing = [float(side) for side in image.get("PixelSpacing", image.get("ImagerPixelSpacing", (1, 1)))]
    affine = np.diag([-spacing[1], -spacing[0], 1.0, 1.0])  # shown as it is stored: see `display_axcodes`
    return _volume(values.swapaxes(0, 2), affine, image)


def _has_places(image: Image) -> bool:
    return image.get("FrameOfReferenceUID") is not None and image.coordinate_system is not None


def _require_pixels(dataset: Dataset) -> None:
    if dataset.get("SOPClassUID") == SegmentationStorage:
        raise InputError("the file is a DICOM segmentation, a mask and no image; leave it out")
    if "Rows" not in dataset or "PixelData" not in dataset:
        raise InputError("the DICOM file holds no picture; leave it out")


def _from_volume(volume: highdicom.Volume, dataset: Dataset) -> Volume:
    """From [slices, rows, columns] in LPS to [columns, rows, slices] in RAS."""
    affine = orientation_ras_lps(volume.affine[:, [2, 1, 0, 3]])
    return _volume(volume.array.swapaxes(0, 2), affine, dataset)


def _volume(values: NDArray, affine: NDArray, dataset: Dataset) -> Volume:
    plain = not any(name in dataset for name in ("RescaleSlope", "ModalityLUTSequence"))
    is_8_bits = values.ndim == 4 or (dataset.BitsStored == 8 and dataset.PixelRepresentation == 0 and plain)
    if values.ndim == 4 and dataset.BitsStored != 8:
        values = np.rint(values / (2**dataset.BitsStored - 1) * 255)
    patient = str(dataset.get("PatientID") or "").strip() or None
    white_is_zero = dataset.PhotometricInterpretation == "MONOCHROME1"
    return Volume(values, affine, is_8_bits, white_is_zero, patient)
