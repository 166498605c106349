"""Which files and folders are volumes, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path

from custom.files import is_system_file
from custom.pixels.formats import has_suffix, is_dicom

__all__ = [
    "DICOM_SUFFIXES",
    "NIFTI_SUFFIXES",
    "NRRD_SUFFIXES",
    "VOLUME_SUFFIXES",
    "is_dicom_file",
    "is_volume",
    "volume_name",
]

NIFTI_SUFFIXES = (".nii", ".nii.gz")
NRRD_SUFFIXES = (".nrrd",)
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, *NRRD_SUFFIXES, *DICOM_SUFFIXES)


def is_volume(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a NIfTI, NRRD or DICOM file by its name, a DICOM file without a suffix, or a DICOM series.

    A folder that holds DICOM files, nothing else and no folders may be a series; reading it tells.
    """
    path = Path(path)
    if has_suffix(path, VOLUME_SUFFIXES):
        return not path.is_dir()
    if path.is_dir():
        try:
            entries = [entry for entry in path.iterdir() if not is_system_file(entry)]
        except OSError:  # a folder that may not be read
            return False
        return bool(entries) and all(is_dicom_file(entry) for entry in entries)
    return is_dicom(path)


def is_dicom_file(path: Path) -> bool:
    """Whether `path` is a file with a suffix of DICOM, or DICOM without a suffix."""
    return path.is_file() and (has_suffix(path, DICOM_SUFFIXES) or is_dicom(path))


def volume_name(path: str | os.PathLike[str]) -> str:
    """The name of a volume without its suffix, which for `.nii.gz` has two parts; a series has that of its folder."""
    name = Path(path).name.strip()
    suffixes = sorted(VOLUME_SUFFIXES, key=len, reverse=True)
    found = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(found)]
