"""Read a volume of any kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np

from custom.errors import InputError, short_reason
from custom.files import require_regular_file
from custom.pixels.formats import has_suffix
from custom.pixels.naming import UnreadableFile, shown_path
from custom.volumes.kinds import NIFTI_SUFFIXES, NRRD_SUFFIXES, is_dicom_file
from custom.volumes.volume import Volume, require_voxels_at_most

__all__ = ["dicom_segments", "is_dicom_series", "read_dicom_segmentation", "read_volume"]


def read_volume(path: str | os.PathLike[str]) -> Volume:
    """The volume in a NIfTI, NRRD or DICOM file, or in a folder that is a DICOM series.

    Raises:
        UnreadableFile: it is missing or broken.
        InputError: too large, of several volumes, or with values that are no numbers. Each names the file.
    """
    path = Path(path)
    try:
        if not path.is_dir():
            require_regular_file(path)
        volume = _reader(path)(path)
    except UnreadableFile:
        raise
    except InputError as error:
        message = str(error)
        raise InputError(message if str(path) in message else f"{shown_path(path)}: {message}") from error
    except Exception as error:  # the decoders pass on the errors of gzip, zlib, NumPy, ...
        reason = short_reason(error, 300)
        raise UnreadableFile(f"{shown_path(path)} cannot be read as a volume; replace the file ({reason})") from error
    if volume.values.dtype.kind == "f" and not np.isfinite(volume.values).all():
        raise InputError(
            f"{shown_path(path)} holds values that are no numbers; replace them, for example by the lowest"
        )
    return volume


def is_dicom_series(files: Sequence[Path]) -> bool:
    """Whether DICOM files are slices of one volume: of one series, and each in a place of its own."""
    return len(files) > 1 and _dicom().is_series(files)


def dicom_segments(path: Path) -> dict[int, str]:
    """Labels of the segments by number where `path` is a DICOM segmentation; empty for everything else."""
    if not is_dicom_file(path) or not _dicom("segmentation").is_segmentation(path):
        return {}
    return _dicom("segmentation").segment_names(path)


def read_dicom_segmentation(path: Path, image: Path, volume: Volume) -> np.ndarray:
    """Segment numbers [I, J, K] of a DICOM segmentation on the grid of `volume`, which was read from `image`."""
    if not image.is_dir() and not is_dicom_file(image):
        raise InputError(
            f"{path} is a DICOM segmentation and {image} no DICOM; save the mask in the format of its volume"
        )
    return _dicom("segmentation").read_segmentation(path, image, volume)


def _reader(path: Path) -> Callable[[Path], Volume]:
    if has_suffix(path, NIFTI_SUFFIXES):
        return _read_nifti
    if has_suffix(path, NRRD_SUFFIXES):
        return _read_nrrd
    return _dicom().read_dicom


def _dicom(name: str = "dicom") -> ModuleType:
    """A module for DICOM, which takes a second to import."""
    try:
        from custom.volumes import dicom, segmentation
    except (AttributeError, ImportError) as error:  # no highdicom, or pydicom 2
        raise InputError(
            "DICOM needs highdicom and pydicom 3, see requirements.txt; install them, or save the images as NIfTI"
        ) from error
    return {"dicom": dicom, "segmentation": segmentation}[name]


def _read_nifti(path: Path) -> Volume:
    image = nibabel.load(path)
    shape = image.shape
    require_voxels_at_most(shape)
    spatial = shape[:3] + (1,) * (3 - len(shape))
    if np.prod(shape) != np.prod(spatial):
        raise InputError(
            f"the shape {shape} is that of several volumes; save the one that is meant by itself, for "
            "example with nibabel.four_to_three"
        )
    data = np.asarray(image.dataobj)
    if data.dtype.fields:  # RGB or RGBA
        colours = np.stack([data[name] for name in "RGB"], axis=-1)
        return Volume(colours.reshape(*spatial, 3), image.affine, is_8_bits=True)
    values = data.reshape(spatial)
    return Volume(_plain(values), image.affine, is_8_bits=values.dtype == np.uint8)


def _read_nrrd(path: Path) -> Volume:
    import nrrd
    from monai.data import NrrdReader

    header = nrrd.read_header(str(path))
    if any(key in header for key in ("data file", "datafile")):
        raise InputError("the NRRD header points at another file; save the volume as one .nrrd file")
    sizes = tuple(int(size) for size in header["sizes"])
    require_voxels_at_most(sizes)
    if len(sizes) not in (2, 3):
        raise InputError(f"the sizes {sizes} are those of several volumes; save the one that is meant by itself")
    if len(sizes) == 3 and "space directions" in header:
        reader = NrrdReader()
        values, meta = reader.get_data(reader.read(str(path)))
        affine = np.asarray(meta["affine"], dtype=np.float64)
    else:  # it does not say where in the patient it lies
        values, _ = nrrd.read(str(path))
        affine = np.diag([*header.get("spacings", ()), *[1.0] * 4][: len(sizes)] + [1.0] * (4 - len(sizes)))
    is_8_bits = header["type"] in ("uint8", "uint8_t", "uchar", "unsigned char")
    return Volume(_plain(values.reshape(*sizes, *(1,) * (3 - len(sizes)))), affine, is_8_bits)


def _plain(values: np.ndarray) -> np.ndarray:
    """Values in a type that computes fast: bytes as they are, all else as float32."""
    if values.dtype.kind not in "uifb":
        raise InputError(f"the voxels are of the kind {values.dtype}; save them as whole or floating-point numbers")
    return values if values.dtype == np.uint8 else values.astype(np.float32)
