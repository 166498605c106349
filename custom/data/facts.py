"""Facts about a data set: what its datalist states, or else what its images and masks show."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from skimage import measure

from custom.data.datalist import Splits, read_datalist
from custom.data.datalist_paths import shown
from custom.errors import InputError
from custom.labels import IGNORED_LABEL, MOST_CLASSES
from custom.pixels import bits_used, read_class_indices, read_image
from custom.pixels.images import LEAST_BIT_DEPTH, MOST_BIT_DEPTH
from custom.pixels.page import MOST_MICRONS_PER_PIXEL
from custom.volumes.window import AUTO, Window, check_window

__all__ = [
    "DataFacts",
    "classes_by_number",
    "has_one_component_each",
    "model_bit_depth",
    "read_facts",
]

logger = logging.getLogger(__name__)

MASKS_MEASURED = 200
SHARE_OF_ONE_COMPONENT = 0.9
_SPLITS_OF_TRAINING = ("labelled", "unlabelled", "validation")
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


@dataclass(frozen=True)
class DataFacts:
    """What the configuration needs to know about a data set.

    `num_classes` and the other fields are there at once. `bit_depth` and `one_connected_component` open images and
    labelled masks the first time they are asked for, unless the datalist states them.

    Attributes:
        name: short name of the data set, such as "BUSI".
        class_names: names of the classes in the order of their indices, background first.
        ignore_value: value of undecided pixels in the masks; None if there is no such value.
        stated_bit_depth: "bit_depth" of the datalist; None where it states none.
        stated_one_connected_component: likewise "one_connected_component".
        fixed_scale: pixels of all images have one physical size, as in microscopy at one magnification, so that a
            larger image shows more.
        microns_per_pixel: that size, the side of a pixel in micrometres; None where it is not stated.
        window: which values of the volumes that the images are slices of became black and white, see
            `custom.volumes.windowed`.
        data: items by split; those of "labelled", "unlabelled" and "validation" show what the datalist does not state.
    """

    name: str = ""
    class_names: tuple[str, ...] = ("background", "foreground")
    ignore_value: int | None = None
    stated_bit_depth: int | None = None
    stated_one_connected_component: bool | None = None
    fixed_scale: bool = False
    microns_per_pixel: float | None = None
    window: Window = AUTO
    data: Splits = field(default_factory=dict, repr=False)

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return len(self.class_names)

    @cached_property
    def bit_depth(self) -> int | None:
        """Bits that the 16-bit images use, 8 to 16; None if there is no 16-bit image."""
        return _find_bit_depth(self.data) if self.stated_bit_depth is None else self.stated_bit_depth

    @cached_property
    def one_connected_component(self) -> bool:
        """Whether every foreground class is one connected piece per image; True if there is no labelled mask."""
        if self.stated_one_connected_component is not None:
            return self.stated_one_connected_component
        masks = [item["label"] for item in self.data.get("labelled", ()) if "label" in item]
        return has_one_component_each(masks, self.num_classes, self.ignore_value)

    @cached_property
    def source_side(self) -> float | None:
        """Side in pixels of a square as large as the training images are in the median; None without a fixed scale."""
        items = self.data.get("labelled", ()) if self.fixed_scale else ()
        sizes = [read_image(item["image"], self.bit_depth).size for item in items[:MASKS_MEASURED]]
        return float(np.median([math.sqrt(width * height) for width, height in sizes])) if sizes else None

    def for_datalist(self) -> dict[str, Any]:
        """The facts as a datalist states them; a bit depth, window or ignored value only where there is one."""
        return {
            "name": self.name,
            "class_names": list(self.class_names),
            "num_classes": self.num_classes,
            "one_connected_component": self.one_connected_component,
            **({} if self.bit_depth is None else {"bit_depth": self.bit_depth}),
            **({"fixed_scale": True} if self.fixed_scale else {}),
            **({} if self.microns_per_pixel is None else {"microns_per_pixel": self.microns_per_pixel}),
            **({} if self.window == AUTO else {"window": list(self.window)}),
            **({} if self.ignore_value is None else {"ignore_value": self.ignore_value}),
        }


class _Stated(BaseModel):
    """The facts that a datalist may state. A description is what the error message asks for."""

    model_config = ConfigDict(strict=True)

    name: _Text | None = Field(None, description="a short name as text, or leave it out")
    class_names: list[_Text] | None = Field(
        None,
        min_length=2,
        max_length=MOST_CLASSES,
        description=f"a list of 2 to {MOST_CLASSES} names, the background first, or leave it out",
    )
    num_classes: int = Field(
        2, ge=2, le=MOST_CLASSES, description=f"the number of classes with the background, 2 to {MOST_CLASSES}"
    )
    one_connected_component: bool | None = Field(
        None, description="true if each class is one connected piece per image, else false, or leave it out"
    )
    bit_depth: int | None = Field(
        None,
        ge=LEAST_BIT_DEPTH,
        le=MOST_BIT_DEPTH,
        description=f"the bits that its 16-bit images use, {LEAST_BIT_DEPTH} to {MOST_BIT_DEPTH}, or leave it out",
    )
    ignore_value: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="the value that undecided pixels have in the masks, 1 to 65535, or leave it out",
    )
    fixed_scale: bool = Field(
        False, description="true if pixels of all images have one physical size, else false, or leave it out"
    )
    microns_per_pixel: float | None = Field(
        None,
        gt=0,
        le=MOST_MICRONS_PER_PIXEL,
        description="the side of a pixel of all images in micrometres, such as 0.5, or leave it out",
    )
    window: Annotated[Any, AfterValidator(check_window)] = Field(
        AUTO, description='"auto" or [low, high], the low value first, or leave it out'
    )


def read_facts(datalist: str | os.PathLike[str] | None, data: Splits | None = None) -> DataFacts:
    """The facts about a data set.

    A datalist that does not exist states nothing, so that a bundle loads without data; `load_datalist` reports it.

    Args:
        datalist: the JSON file; None if there is none.
        data: items by split, as `load_datalist` returns them, for facts that the datalist does not state. Only masks
            of "labelled" are opened.

    Raises:
        InputError: the file cannot be read, or a fact has a wrong value. The message names the file and the key.
    """
    exists = datalist is not None and os.path.lexists(datalist)
    content = read_datalist(datalist) if exists else {}
    stated = _check(content, datalist)
    names = stated.class_names or classes_by_number(stated.num_classes)
    if "num_classes" in content and len(names) != stated.num_classes:
        raise InputError(
            f'{datalist}: "class_names" lists {len(names)} classes and "num_classes" is {stated.num_classes}; give '
            "both the same number, with the background"
        )
    return DataFacts(
        name=stated.name or ("" if datalist is None else Path(os.path.abspath(datalist)).parent.name),
        class_names=tuple(names),
        ignore_value=stated.ignore_value,
        stated_bit_depth=stated.bit_depth,
        stated_one_connected_component=stated.one_connected_component,
        fixed_scale=stated.fixed_scale or stated.microns_per_pixel is not None,
        microns_per_pixel=stated.microns_per_pixel,
        window=stated.window,
        data=data or {},
    )


def classes_by_number(num_classes: int) -> list[str]:
    """Names for classes without names: "background" and "foreground", or "background", "class 1", "class 2", ..."""
    if num_classes == 2:
        return ["background", "foreground"]
    return ["background", *(f"class {index}" for index in range(1, num_classes))]


def has_one_component_each(masks: Sequence[str], num_classes: int, ignore_value: int | None = None) -> bool:
    """Whether each foreground class is one connected piece in 90 % of the masks that hold foreground; True without any.

    Diagonal neighbours are connected. Masks that cannot be read are left to `check_dataset`.

    Args:
        masks: mask files, of which the first 200 are read.
        num_classes: number of classes, background included.
        ignore_value: value of undecided pixels.
    """
    measure_mask = partial(_is_one_component_each, num_classes=num_classes, ignore_value=ignore_value)
    with ThreadPoolExecutor() as pool:
        found = [one for one in pool.map(measure_mask, masks[:MASKS_MEASURED]) if one is not None]
    if not found:
        return True
    share = np.mean(found)
    logger.info("in %.0f%% of %d labelled masks every class is one connected piece", 100 * share, len(found))
    return bool(share >= SHARE_OF_ONE_COMPONENT)


def model_bit_depth(details: Mapping[str, Any], datalist: str | os.PathLike[str]) -> int | None:
    """The depth that a model was trained with; it is logged if the data to evaluate it on state another.

    Args:
        details: the model's details; models from before there was a depth took 16 bits.
        datalist: the datalist of the data.

    Raises:
        InputError: see `read_facts`.
    """
    depth, stated = details.get("bit_depth", MOST_BIT_DEPTH), read_facts(datalist).stated_bit_depth
    if stated is not None and stated != depth:
        logger.warning(
            "%s states a bit_depth of %s, the model was trained with %s: its images may be brighter or darker than "
            "those that the model has seen",
            datalist,
            stated,
            depth,
        )
    return depth


def _check(content: Mapping[str, Any], datalist: str | os.PathLike[str] | None) -> _Stated:
    try:
        return _Stated.model_validate(content)
    except ValidationError as error:
        key = error.errors(include_url=False)[0]["loc"][0]
        raise InputError(
            f'{datalist}: "{key}" is {shown(content[key])}; give {_Stated.model_fields[key].description}'
        ) from error


def _find_bit_depth(data: Splits) -> int | None:
    """Bits that the 16-bit images for training and validation use, 8 to 16; None if there is no 16-bit image.

    Scanners store 10 or 12 bits in 16-bit files. A single image need not reach the largest value, so all are read.
    Images that cannot be read are left to `check_dataset`.
    """
    images = [item["image"] for split in _SPLITS_OF_TRAINING for item in data.get(split, ())]
    with ThreadPoolExecutor() as pool:
        return max(filter(None, pool.map(_bits_or_none, images)), default=None)


def _bits_or_none(path: str) -> int | None:
    try:
        return bits_used(path)
    except InputError:
        return None


def _is_one_component_each(path: str, num_classes: int, ignore_value: int | None) -> bool | None:
    """None for a mask without foreground, or one that cannot be read."""
    try:
        labels = np.asarray(read_class_indices(path, num_classes, ignore_value))
    except InputError:
        return None
    classes = np.setdiff1d(labels, (0, IGNORED_LABEL))
    if not len(classes):
        return None
    return all(measure.label(labels == index, connectivity=2).max() == 1 for index in classes)
