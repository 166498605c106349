"""Volumes cut into slices, which training reads as images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custom.errors import InputError
from custom.pixels.formats import has_suffix
from custom.pixels.masks import join
from custom.prepare.listing import walk
from custom.prepare.records import Record
from custom.volumes import (
    Volume,
    dicom_segments,
    is_dicom_series,
    read_dicom_segmentation,
    read_volume,
    to_slices,
    windowed,
)
from custom.volumes.grid import turned
from custom.volumes.kinds import NIFTI_SUFFIXES, NRRD_SUFFIXES, is_dicom_file
from custom.volumes.window import AUTO, PERCENTILES, Window

__all__ = ["cut_volume", "describe_cut", "require_same_segments", "volumes_in"]

_LARGEST_LABEL = 65535


def volumes_in(folder: Path) -> list[Path]:
    """All volumes below `folder`, by path: NIfTI, NRRD and DICOM files, and folders that are a DICOM series.

    Raises:
        InputError: a folder cannot be read, or `folder` itself is the series, which then has no name.
    """
    found: list[Path] = []
    for place, _, names in walk(folder):
        files = [Path(place, name) for name in names]
        found += [file for file in files if has_suffix(file, (*NIFTI_SUFFIXES, *NRRD_SUFFIXES))]
        dicom = [file for file in files if is_dicom_file(file)]
        if not is_dicom_series(dicom):
            found += dicom
        elif os.path.samefile(place, folder):
            raise InputError(f"{folder} is itself a DICOM series; put each series into a folder of its own in {folder}")
        else:
            found.append(Path(place))
    return sorted(found)


def cut_volume(
    image: Path,
    masks: Sequence[Path],
    workspace: Path,
    name: str,
    group: str | None = None,
    split: str | None = None,
    window: Window = AUTO,
    slice_name: str = "{name}_slice_{number:03d}",
) -> list[Record]:
    """Write each slice of a volume as it is shown, and of its masks, as PNG into `workspace`.

    Args:
        image: the volume.
        masks: masks on its grid, or DICOM segmentations of it, joined where there are several; empty for an unlabelled
            volume.
        workspace: the folder for the files.
        name: of the volume in the prepared set; "/" makes folders.
        group: the patient; None takes who a DICOM file names, or else the volume itself.
        split: see `Record`.
        window: see `custom.volumes.windowed`.
        slice_name: how a slice is called.

    Raises:
        UnreadableFile: a file is missing or broken.
        InputError: a mask has another grid than the volume, or holds other values than whole numbers of at least 0.
    """
    volume = read_volume(image)
    slices = to_slices(windowed(volume, window), volume.affine)
    truth = None
    if masks:
        truths = [_read_mask(mask, volume, image) for mask in masks]
        truth = to_slices(join(truths, masks), volume.affine)
    group = group or volume.patient or name
    records = []
    for number in range(slices.shape[2]):
        slice_of = slice_name.format(name=name, number=number)
        image_path, mask_path = workspace / f"{slice_of}.png", workspace / f"{slice_of}_mask.png"
        image_path.parent.mkdir(parents=True, exist_ok=True)
        _save(slices[:, :, number], image_path)
        if truth is not None:
            _save(truth[:, :, number], mask_path)
        taken = () if truth is None else (mask_path,)
        records.append(Record(slice_of, image_path, taken, group=group, split=split, volume=name))
    return records


def describe_cut(volumes: int, window: Window) -> str:
    """For the report: how many volumes were cut, and how their values became brightness."""
    if window == AUTO:
        low, high = PERCENTILES
        windowing = f"each windowed to 8 bits from its {low} to its {high} percentile, unless it has 8 bits"
    else:
        windowing = f"windowed to 8 bits from {window[0]:g} to {window[1]:g}"
    return f"{volumes} volumes cut into slices along their third axis, {windowing}."


def require_same_segments(masks: Sequence[Path]) -> None:
    """Refuse DICOM segmentations that give one number to segments of different names: the numbers become classes.

    Raises:
        InputError: it names two files that disagree.
    """
    seen: dict[int, tuple[str, Path]] = {}
    for path in masks:
        for number, label in dicom_segments(path).items():
            other, where = seen.setdefault(number, (label, path))
            if other.casefold() != label.casefold():
                raise InputError(
                    f"{path} calls its segment {number} {label!r}, and {where} {other!r}; number the segments alike in "
                    "all files, since the numbers become classes"
                )


def _read_mask(path: Path, volume: Volume, image: Path) -> NDArray[np.uint16]:
    """Values [I, J, K]."""
    if dicom_segments(path):
        mask = replace(volume, values=read_dicom_segmentation(path, image, volume))
    else:
        mask = turned(read_volume(path), volume.affine)
    if mask.values.shape != volume.values.shape[:3]:
        sizes = ["x".join(map(str, values.shape[:3])) for values in (mask.values, volume.values)]
        raise InputError(f"{path} has {sizes[0]} voxels, its volume {image} {sizes[1]}; give both the same grid")
    if not np.allclose(mask.affine, volume.affine, atol=1e-2):
        raise InputError(f"{path} lies elsewhere in the patient than its volume {image}; resample it onto the volume")
    values = mask.values
    if (values < 0).any() or (values > _LARGEST_LABEL).any() or (values != np.rint(values)).any():
        raise InputError(f"{path} holds other values than whole numbers from 0 to {_LARGEST_LABEL}; save class indices")
    return values.astype(np.uint8 if values.max() <= 255 else np.uint16)


def _save(values: NDArray, path: Path) -> None:
    """Values [W, H] or colours [W, H, 3] as PNG."""
    Image.fromarray(np.ascontiguousarray(values.swapaxes(0, 1))).save(path)
