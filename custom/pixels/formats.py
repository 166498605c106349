"""File formats which people have and training does not read: what they are called and how to convert them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from custom.wording import and_more

__all__ = ["IMAGE_SUFFIXES", "UnreadFormat", "describe_unread", "has_suffix", "is_dicom", "unread_format"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


class UnreadFormat(NamedTuple):
    """A family of formats which training does not read.

    Attributes:
        title: name of a file of this kind.
        remedy: how to make images of it, or of the masks in it.
        suffixes: in lower case.
        annotation: it may be a mask in another form, or only text.
    """

    title: str
    remedy: str
    suffixes: tuple[str, ...]
    annotation: bool = False


_CAMERA_AND_WEB = (".webp", ".gif", ".heic", ".heif", ".avif", ".jxl", ".jfif", ".jpe", ".apng")
_PUBLISHING = (".jp2", ".j2k", ".jpx", ".svg", ".psd", ".xcf", ".eps", ".pdf", ".ico", ".dib")
_SCIENCE = (".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".exr")
_CUT = "cut it into slices with python -m custom prepare folder"
_DICOM = UnreadFormat("DICOM", _CUT, (".dcm", ".dicom", ".ima"))
_UNREAD = (
    UnreadFormat(
        "NIfTI volume",
        _CUT,
        (".nii", ".nii.gz"),
    ),
    UnreadFormat("NRRD volume", _CUT, (".nrrd",)),
    UnreadFormat(
        "volume",
        "save it as NIfTI, for example with SimpleITK",
        (".mha", ".mhd", ".nhdr", ".mgz", ".mgh", ".hdr", ".img"),
    ),
    _DICOM,
    UnreadFormat(
        "annotation as JSON (LabelMe, COCO, ...)",
        "draw its polygons as one PNG mask for each image, for example with labelme_export_json",
        (".json", ".jsonl", ".geojson"),
        annotation=True,
    ),
    UnreadFormat(
        "annotation as text (VOC, YOLO, ...)",
        "draw it as one PNG mask for each image, for example with skimage.draw.polygon2mask",
        (".xml", ".txt", ".csv", ".tsv", ".yaml", ".yml", ".roi"),
        annotation=True,
    ),
    UnreadFormat(
        "picture in another format",
        "save it as PNG, for example with ImageMagick's mogrify -format png",
        (*_CAMERA_AND_WEB, *_PUBLISHING, *_SCIENCE),
    ),
    UnreadFormat(
        "array",
        "save each array as PNG, for example with skimage.io.imsave",
        (".npy", ".npz", ".mat", ".h5", ".hdf5", ".pkl", ".pickle", ".pt", ".zarr"),
    ),
    UnreadFormat(
        "archive",
        "unpack it",
        (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst"),
    ),
    UnreadFormat(
        "whole slide",
        "cut it into pictures with masks for training, for example with QuPath; inference reads it",
        (".svs", ".ndpi", ".scn"),
    ),
    UnreadFormat(
        "whole slide or microscope file",
        "save it as a pyramidal TIFF for inference, or its tiles as PNG, for example with QuPath",
        (".mrxs", ".czi", ".vsi", ".lif", ".nd2", ".bif", ".qptiff", ".oib", ".vms"),
    ),
    UnreadFormat(
        "video",
        "save its frames as PNG, for example with ffmpeg",
        (".mp4", ".avi", ".mov", ".mkv", ".wmv", ".mpg", ".mpeg", ".webm"),
    ),
)
_DICOM_MARK = (128, b"DICM")  # place and text, in files without a suffix too


def has_suffix(path: str | os.PathLike[str], suffixes: Iterable[str] = IMAGE_SUFFIXES) -> bool:
    """Whether the name ends in one of the suffixes, which are in lower case; outer spaces and case do not count."""
    return Path(path).name.strip().lower().endswith(tuple(suffixes))


def unread_format(path: str | os.PathLike[str]) -> UnreadFormat | None:
    """The family of formats that the name of `path` has, if training does not read it.

    A file without a suffix, as DICOM files often are, is looked into.
    """
    if has_suffix(path):
        return None
    found = next((unread for unread in _UNREAD if has_suffix(path, unread.suffixes)), None)
    return _DICOM if found is None and is_dicom(Path(path)) else found


def describe_unread(paths: Iterable[Path], annotations: bool = True) -> str:
    """Which of the files are of formats that are not read and how to convert them, in a line; "" if there are none.

    Args:
        paths: the files.
        annotations: count files that may hold masks in another form, such as JSON and text.
    """
    by_format: dict[UnreadFormat, list[str]] = defaultdict(list)
    for path in paths:
        unread = unread_format(path)
        if unread and (annotations or not unread.annotation):
            by_format[unread].append(path.name)
    return "; ".join(
        f"{names[0]}{and_more(len(names) - 1)} ({unread.title}): {unread.remedy}" for unread, names in by_format.items()
    )


def is_dicom(path: Path) -> bool:
    """Whether a file whose name has no suffix, or a number for one, is DICOM by its content."""
    place, mark = _DICOM_MARK
    suffix = path.suffix[1:]
    if (suffix and not suffix.isdigit()) or not os.path.isfile(path):
        return False
    try:
        with path.open("rb") as file:
            return file.read(place + len(mark))[place:] == mark
    except OSError:
        return False
