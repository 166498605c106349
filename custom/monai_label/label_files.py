"""Labels as viewers send them, in any format, brought onto the grid of the image as class indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custom.errors import InputError
from custom.labels import MOST_CLASSES
from custom.monai_label.names import OUTLINES_SUFFIX, RAW_SUFFIX
from custom.monai_label.outlines import read_asap_xml
from custom.pixels import read_class_indices, read_image
from custom.pixels.formats import has_suffix
from custom.pixels.images import MOST_BIT_DEPTH
from custom.volumes import is_volume, read_volume, write_map
from custom.volumes.grid import on_grid

__all__ = ["PICTURE_AFFINE", "check_image", "convert_label"]

PICTURE_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Where viewers of volumes put a picture: millimetres for pixels, columns to the left and rows to the back (RAS)."""


def check_image(path: str | Path) -> None:
    """Refuse a picture or volume that cannot be read.

    Raises:
        InputError: with the reason.
    """
    _grid(path)


def convert_label(
    label: Path, image: Path, folder: Path, names: Mapping[str, int], segments: Sequence[Mapping[str, Any]] = ()
) -> Path:
    """A label as it is stored: for a picture a picture, for a volume a volume of the same kind, in the image's grid.

    Pictures of the size of their image stay as they are.

    Args:
        label: the label as it was sent: a picture, NIfTI or NRRD, ASAP annotations (`.xml`), or voxels alone (`.bin`),
            of 8 or 16 bits, columns first, in the order of the image's file.
        image: its image.
        folder: where a new file goes.
        names: class index by name.
        segments: what a viewer says of the label's values, "name" and "idx" of each. Where all these names are
            classes, the values become the indices of the classes.

    Returns:
        The file to store: `label` itself, or a new one in `folder`.

    Raises:
        InputError: the label is broken, of another size or place than its image, or holds no class indices.
    """
    shape, affine = _grid(image)
    volume = affine is not None
    if has_suffix(label):  # a picture
        if volume:
            raise InputError("a picture is no label of a volume; send .nii.gz or .nrrd on the volume's grid")
        size = read_class_indices(str(label), num_classes=None).size
        if size != shape[:2]:
            raise InputError(
                f"it has {size[0]}x{size[1]} pixels, its image {shape[0]}x{shape[1]}: draw it at the image's size"
            )
        return label
    if has_suffix(label, (OUTLINES_SUFFIX,)):
        if volume:
            raise InputError("outlines are for pictures; send .nii.gz or .nrrd on the volume's grid")
        values = read_asap_xml(label, shape[:2], names).T[:, :, None]
    elif has_suffix(label, (RAW_SUFFIX,)):
        values = _plain_voxels(label, shape)
    else:
        values = _on_image(label, shape, PICTURE_AFFINE if affine is None else affine, exact=not volume)
    indices = _renamed(_class_indices(values), names, segments)
    if volume:
        return write_map(image, indices, affine, folder)
    picture = folder / "label.png"
    Image.fromarray(np.ascontiguousarray(indices[:, :, 0].T)).save(picture)
    return picture


def _grid(image: str | Path) -> tuple[tuple[int, int, int], NDArray[np.float64] | None]:
    """Voxels along the axes of an image, and the affine of a volume; a picture has one slice and no affine."""
    if is_volume(image):
        volume = read_volume(image)
        return volume.values.shape[:3], volume.affine
    return (*read_image(str(image), MOST_BIT_DEPTH).size, 1), None


def _on_image(label: Path, shape: tuple[int, int, int], affine: NDArray, exact: bool) -> NDArray:
    mask = read_volume(label)
    if mask.is_colour:
        raise InputError("it is in colour; save class indices")
    if exact and mask.values.shape == shape:  # of a picture, whose place in space every program chooses anew
        return mask.values
    try:
        return on_grid(mask, shape, affine)
    except InputError as error:
        sizes = ["x".join(map(str, size)) for size in (mask.values.shape, shape)]
        raise InputError(f"it has {sizes[0]} voxels, its image {sizes[1]}: {error}") from error


def _plain_voxels(label: Path, shape: tuple[int, int, int]) -> NDArray:
    content, voxels = label.read_bytes(), int(np.prod(shape))
    kinds = {voxels: np.dtype("u1"), 2 * voxels: np.dtype("<u2")}
    if len(content) not in kinds:
        raise InputError(
            f"it has {len(content)} bytes, and its image {voxels} voxels: send one or two bytes for each voxel"
        )
    return np.frombuffer(content, kinds[len(content)]).reshape(shape, order="F")


def _class_indices(values: NDArray) -> NDArray[np.uint8]:
    if (values < 0).any() or (values > MOST_CLASSES).any() or (values != np.rint(values)).any():
        raise InputError(f"it holds other values than whole numbers from 0 to {MOST_CLASSES}; save class indices")
    return values.astype(np.uint8)


def _renamed(
    indices: NDArray[np.uint8], names: Mapping[str, int], segments: Sequence[Mapping[str, Any]]
) -> NDArray[np.uint8]:
    """Class indices of a label whose values follow the order in which a user made the segments."""
    known = {name.casefold(): index for name, index in names.items()}
    table = np.arange(256, dtype=np.uint8)
    for segment in segments:
        value, name = segment.get("idx"), str(segment.get("name", "")).casefold()
        if name not in known or not isinstance(value, int) or not 0 < value < len(table):
            return indices
        table[value] = known[name]
    return table[indices]
