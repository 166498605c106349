"""DICOM segmentations as masks of the images that they refer to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from highdicom.seg import Segmentation
from highdicom.spatial import get_series_volume_positions
from monai.data.utils import orientation_ras_lps
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from custom.errors import InputError, short_reason
from custom.pixels.naming import UnreadableFile, shown_path
from custom.volumes.dicom import sources_in
from custom.volumes.volume import Volume

__all__ = ["is_segmentation", "read_segmentation", "segment_names"]

_LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
_STATED = ("SOPClassUID", "SegmentSequence")


def is_segmentation(path: Path) -> bool:
    """Whether a file is a DICOM segmentation; reading another one tells what is wrong with it."""
    try:
        stated = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except Exception:  # pydicom's errors of many kinds, or no DICOM
        return False
    return stated.get("SOPClassUID") in (SegmentationStorage, _LABEL_MAP_STORAGE)


def segment_names(path: Path) -> dict[int, str]:
    """The labels of a segmentation's segments by their numbers, as its header states them."""
    stated = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_STATED))
    segments = stated.get("SegmentSequence") or ()
    return {int(segment.SegmentNumber): str(segment.get("SegmentLabel", "")).strip() for segment in segments}


def read_segmentation(path: Path, image: Path, volume: Volume) -> NDArray:
    """Segment numbers [I, J, K] on the grid of a volume, 0 where there is no segment.

    Slices are found by the images that the segmentation refers to, or else by their places in the patient.

    Args:
        path: the segmentation.
        image: the DICOM file or series that it is of.
        volume: the volume of `image`.

    Raises:
        UnreadableFile: it is broken.
        InputError: it is of other images, on another grid, or its segments overlap. It names the file.
    """
    name = shown_path(path)
    try:
        segmentation = highdicom.seg.segread(path)
        sources = sources_in(image)
        referred = {uid for _, _, uid in segmentation.get_source_image_uids()}
    except Exception as error:  # highdicom and pydicom raise errors of many kinds for a broken file
        reason = short_reason(error, 300)
        raise UnreadableFile(f"{name} cannot be read as a DICOM segmentation; replace the file ({reason})") from error
    own = {source.SOPInstanceUID for source in sources}
    if referred and not referred & own:
        raise InputError(f"{name} is a segmentation of other images than those of {image}; give it their name")
    values = _by_reference(segmentation, sources, image.is_dir()) if referred else None
    if values is None:
        values = _by_place(segmentation, volume, name, image)
    return values.swapaxes(0, 2)


def _by_reference(segmentation: Segmentation, sources: Sequence[Dataset], is_series: bool) -> NDArray | None:
    """[K, J, I]; None where places in the patient must tell."""
    settings = {"combine_segments": True, "assert_missing_frames_are_empty": True}
    frames = int(sources[0].get("NumberOfFrames", 1))
    try:
        if is_series:
            _, places = get_series_volume_positions(sources)
            uids = [sources[number].SOPInstanceUID for number in np.argsort(places)]
            return segmentation.get_pixels_by_source_instance(uids, **settings)
        if frames == 1:
            return segmentation.get_pixels_by_source_instance([sources[0].SOPInstanceUID], **settings)
        if sources[0].get("FrameOfReferenceUID") is None:
            return segmentation.get_pixels_by_source_frame(
                sources[0].SOPInstanceUID, list(range(1, frames + 1)), **settings
            )
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError):  # frames that do not say what they are of
        return None
    return None


def _by_place(segmentation: Segmentation, volume: Volume, name: str, image: Path) -> NDArray:
    lps = orientation_ras_lps(volume.affine)[:, [2, 1, 0, 3]]
    shape = volume.values.shape[2::-1]
    grid = highdicom.VolumeGeometry(lps, shape, highdicom.CoordinateSystemNames.PATIENT)
    try:
        found = segmentation.get_volume(combine_segments=True)
        return found.match_geometry(grid, tol=1e-2).array
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{name} cannot be laid on the grid of {image} ({short_reason(error, 200)}); save the mask as NIfTI on "
            "that grid, for example with 3D Slicer"
        ) from error
