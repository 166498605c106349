"""Write the mask of a volume where the volume is: on the same grid, with the same geometry."""

from __future__ import annotations

import gzip
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
from monai.data.utils import orientation_ras_lps
from numpy.typing import NDArray
from PIL import Image

from custom.errors import short_reason
from custom.files import whole_file
from custom.pixels.formats import has_suffix
from custom.version import __version__
from custom.volumes.kinds import NIFTI_SUFFIXES, NRRD_SUFFIXES, volume_name

__all__ = ["write_map", "write_mask"]

if TYPE_CHECKING:
    import highdicom

logger = logging.getLogger(__name__)

_SERIES_NUMBER = 1000  # of segmentations: far from those that a scanner gives


def write_mask(
    source: str | os.PathLike[str],
    mask: NDArray[np.uint8],
    affine: NDArray,
    folder: str | os.PathLike[str],
    class_names: Sequence[str] = ("background", "foreground"),
) -> list[Path]:
    """Write the mask of a volume, named like it.

    NIfTI gives NIfTI with the affine, spacing and codes of the source, NRRD gives NRRD. DICOM gives a DICOM
    segmentation, `NAME.seg.dcm`, which refers to the source, and beside it a PNG where there is one frame, else NIfTI.
    Several frames without places in a patient, such as an ultrasound loop, have no segmentation in DICOM: they give
    NIfTI alone. A source that lacks what a segmentation needs is a logged warning.

    Args:
        source: the file or folder that was read.
        mask: class indices [I, J, K] on the grid that `read_volume` gives.
        affine: that of the volume, [4, 4] to RAS.
        folder: where the files go; it is made.
        class_names: names of the classes, background first; a DICOM segmentation has a segment for each other one.

    Returns:
        The files.
    """
    source, target = Path(source), _target(source, folder)
    if not _is_dicom(source):
        return [write_map(source, mask, affine, folder)]
    try:
        segmentation = _segmentation(mask, affine, source, class_names)
    except (AttributeError, TypeError, ValueError) as error:  # a tag that the standard asks for is not there, or odd
        logger.warning("%s: no DICOM segmentation can refer to it (%s)", source, short_reason(error, 300))
        segmentation = None
    files = [write_map(source, mask, affine, folder, scale=255 if len(class_names) == 2 else 1)]
    if segmentation is not None:
        files.append(target.with_name(f"{target.name}.seg.dcm"))
        with whole_file(files[-1]) as file:
            segmentation.save_as(file)
    return files


def write_map(
    source: str | os.PathLike[str],
    values: NDArray[np.uint8],
    affine: NDArray,
    folder: str | os.PathLike[str],
    scale: int = 1,
) -> Path:
    """Write 8-bit values [I, J, K] of a volume, named like it: see `write_mask`, without DICOM segmentations.

    Args:
        source, values, affine, folder: see `write_mask`.
        scale: factor on the values where they become a PNG, so that people see them.

    Returns:
        The file.
    """
    source, target = Path(source), _target(source, folder)
    if has_suffix(source, NRRD_SUFFIXES):
        return _write_nrrd(target.with_name(f"{target.name}.nrrd"), values, affine)
    if _is_dicom(source) and values.shape[2] == 1:
        path = target.with_name(f"{target.name}.png")
        with whole_file(path) as file:
            Image.fromarray(np.ascontiguousarray(values[:, :, 0].T) * np.uint8(scale)).save(file, "PNG")
        return path
    return _write_nifti(target.with_name(f"{target.name}.nii.gz"), values, affine, source)


def _target(source: Path, folder: str | os.PathLike[str]) -> Path:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / volume_name(source)


def _is_dicom(source: Path) -> bool:
    return not has_suffix(source, (*NRRD_SUFFIXES, *NIFTI_SUFFIXES))


def _write_nifti(path: Path, values: NDArray[np.uint8], affine: NDArray, source: Path) -> Path:
    header = None
    if has_suffix(source, NIFTI_SUFFIXES):
        stored = nibabel.load(source)
        header, affine = stored.header.copy(), stored.affine
        header.set_data_dtype(np.uint8)
        header["cal_min"] = header["cal_max"] = 0  # a window of the image
        values = values.reshape(stored.shape[:3])  # a slice may be stored without its third axis
    image = nibabel.Nifti1Image(values, affine, header)
    if header is None:
        image.header.set_xyzt_units("mm")
    with whole_file(path) as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as packed:
        packed.write(image.to_bytes())
    return path


def _write_nrrd(path: Path, values: NDArray[np.uint8], affine: NDArray) -> Path:
    import nrrd

    lps = orientation_ras_lps(affine)
    header = {
        "space": "left-posterior-superior",
        "space directions": lps[:3, :3].T,
        "space origin": lps[:3, 3],
        "kinds": ["domain"] * 3,
        "encoding": "gzip",
    }
    with whole_file(path) as file:
        nrrd.write(file, values, header)
    return path


def _segmentation(
    mask: NDArray[np.uint8], affine: NDArray, source: Path, class_names: Sequence[str]
) -> highdicom.seg.Segmentation | None:
    """None where DICOM has no segmentation for the source."""
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    from custom.volumes.dicom import sources_in

    datasets = sources_in(source)
    pixels: NDArray | highdicom.Volume = mask.swapaxes(0, 2)
    if mask.shape[2] > 1 and datasets[0].get("FrameOfReferenceUID") is not None:  # the order of frames may differ
        lps = orientation_ras_lps(affine)[:, [2, 1, 0, 3]]
        pixels = highdicom.Volume(pixels, lps, highdicom.CoordinateSystemNames.PATIENT)
    elif mask.shape[2] > 1:
        return None
    made_by = highdicom.AlgorithmIdentificationSequence(
        name="SemiGDA", version=__version__, family=codes.DCM.ArtificialIntelligence
    )
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.AnatomicalStructure,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=made_by,
        )
        for number, name in enumerate(class_names[1:], 1)
    ]
    return highdicom.seg.Segmentation(
        source_images=datasets,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=generate_uid(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="SemiGDA",
        manufacturer_model_name="SemiGDA",
        software_versions=__version__,
        device_serial_number="0",
        omit_empty_frames=False,
    )
