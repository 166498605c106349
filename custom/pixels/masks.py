"""Masks: the plain values in a file, whatever its format, and the class indices they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from custom.errors import InputError
from custom.labels import IGNORED_LABEL, MOST_CLASSES
from custom.pixels.naming import naming, shown_path
from custom.pixels.page import MAX_PIXELS, Page, turn
from custom.pixels.palettes import Colour, colours_of, find_odd_order, is_grey
from custom.pixels.reading import read_pages

__all__ = ["Mask", "class_indices", "join", "plain_values", "read_class_indices", "read_mask"]

_LARGEST_GREY_DIFFERENCE = 32  # between the channels of a grey mask which JPEG has stored as colour


@dataclass(frozen=True)
class Mask:
    """A mask file.

    Attributes:
        values: [H, W] values, or palette indices; or [H, W, 3] colours of a mask in colour. Integers of at least 0.
        palette: [N, 3] colours of the indices; None where `values` are no indices.
        bits: bits of a stored value.
        lossy: values are only nearly those that were saved.
        pages: pages of the file that were joined.
        orientation: EXIF orientation that turning has still to undo; 1 where there is nothing to do.
    """

    values: NDArray[np.integer]
    palette: NDArray[np.uint8] | None = None
    bits: int = 8
    lossy: bool = False
    pages: int = 1
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.values.shape[1], self.values.shape[0]

    @property
    def has_grey_palette(self) -> bool:
        """Whether the mask has a palette and all its colours are grey."""
        return self.palette is not None and is_grey(self.palette)

    @property
    def odd_order(self) -> str | None:
        """Why the palette's indices and colours may be meant differently: see `find_odd_order`."""
        return None if self.palette is None else find_odd_order(self.values, self.palette)

    @property
    def colours(self) -> dict[int, Colour] | None:
        """The colour of each palette index that occurs; None without a palette."""
        return None if self.palette is None else colours_of(self.values, self.palette)

    def turned(self, orientation: int) -> Mask:
        """The mask turned upright, given an EXIF orientation."""
        return replace(self, values=turn(self.values, orientation), orientation=1)


def read_mask(path: str | PathLike[str], most_pixels: int = MAX_PIXELS) -> Mask:
    """The values of a mask file, not turned yet. Pages of a TIFF are joined.

    Raises:
        InputError: broken, too large, pages or transparency that contradict, or values which are no whole numbers of at
            least 0. It names the file.
    """
    with naming(path):
        pages = read_pages(path, most_pixels, several=True)
        first = pages[0]
        if any(not _same_kind(page, first) for page in pages):
            raise InputError(f"the {len(pages)} pages of the TIFF are of several kinds; save one mask of class indices")
        values = [_values(page) for page in pages]
        joined = values[0] if len(values) == 1 else _join_pages(values)
        return Mask(joined, first.palette, first.bits, first.lossy, len(pages), first.orientation)


def plain_values(mask: Mask) -> NDArray[np.int64]:
    """Values [H, W]: greys, also of a palette of greys, or the indices of a palette of colours.

    Raises:
        InputError: the mask is in colour, or its palette orders indices otherwise than its greys do. It does not name
            the file.
    """
    if mask.values.ndim == 3:
        raise InputError("the mask is in colour; save one grey value per class as PNG")
    if mask.palette is None:
        return mask.values.astype(np.int64)
    if odd := mask.odd_order:
        raise InputError(
            f"{odd} in the mask's palette, so that its background is uncertain; save class indices as grey"
        )
    return (mask.palette[mask.values, 0] if mask.has_grey_palette else mask.values).astype(np.int64)


def class_indices(mask: Mask, num_classes: int | None, ignore_value: int | None = None) -> NDArray[np.uint8]:
    """Class indices [H, W] from 0 to num_classes - 1, and `IGNORED_LABEL` where the mask holds `ignore_value`.

    With two classes the mask may hold 0 and 255 (or 0 and 65535 in 16 bits) instead of 0 and 1.

    Args:
        mask: the mask.
        num_classes: number of classes, background included; None takes any indices, and two classes as above.
        ignore_value: value of undecided pixels; None if there is no such value.

    Raises:
        InputError: the mask holds other values. It does not name the file.
    """
    values = plain_values(mask)
    ignored = np.zeros(values.shape, bool) if ignore_value is None else values == ignore_value
    found = np.unique(values[~ignored])
    white = _white_of(mask, found)
    if white is not None and num_classes in (None, 2):
        values = values == white
    elif not np.isin(found, range(num_classes or MOST_CLASSES)).all():
        expected = f"class indices 0 to {(num_classes or MOST_CLASSES) - 1}"
        expected = "0 and 1, or 0 and 255" if num_classes == 2 else expected
        undecided = "" if ignore_value is not None else ' (or "ignore_value" in datalist.json for undecided pixels)'
        raise InputError(
            f"the mask holds the values {_listed(found)}, expected {expected}; save it so as PNG{undecided}"
        )
    return np.where(ignored, IGNORED_LABEL, values).astype(np.uint8)


def read_class_indices(
    path: str | PathLike[str], num_classes: int | None, ignore_value: int | None = None
) -> Image.Image:
    """The mask of a file as a grey ("L") picture of `class_indices`, turned upright by its EXIF orientation.

    Raises:
        InputError: see `read_mask` and `class_indices`. It names the file.
    """
    mask = read_mask(path)
    with naming(path):
        return Image.fromarray(class_indices(mask.turned(mask.orientation), num_classes, ignore_value))


def join(masks: Sequence[NDArray[np.uint8]], names: Sequence[str | PathLike[str]]) -> NDArray[np.uint8]:
    """Several masks [H, W] of class indices of one image as one; classes replace background and `IGNORED_LABEL`.

    Raises:
        InputError: two masks give one pixel to different classes. It names them.
    """
    joined, owner = masks[0].copy(), np.zeros(masks[0].shape, np.int32)
    for number, mask in enumerate(masks[1:], start=1):
        clash = _clash(joined, mask)
        if clash is not None:
            first, second = (shown_path(names[place]) for place in (owner[clash], number))
            raise InputError(
                f"{first} and {second} give a pixel to the classes {joined[clash]} and {mask[clash]}; "
                "correct one of them, or save one mask of class indices"
            )
        takes = (mask != 0) & ((joined == 0) | (joined == IGNORED_LABEL)) & (mask != joined)
        joined[takes], owner[takes] = mask[takes], number
    return joined


def _clash(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[int, int] | None:
    """A pixel that two masks give to different classes."""
    decided = (first != IGNORED_LABEL) & (second != IGNORED_LABEL)
    places = np.argwhere((first != second) & (first != 0) & (second != 0) & decided)
    return tuple(places[0].tolist()) if len(places) else None


def _white_of(mask: Mask, found: NDArray[np.int64]) -> int | None:
    """The value that stands for 1 in a mask of 0 and "white"; None for class indices."""
    if mask.palette is not None and not mask.has_grey_palette:
        return None
    whites = (255, 65535) if mask.bits == 16 else (255,)
    return next((white for white in whites if white in found and np.isin(found, (0, white)).all()), None)


def _same_kind(page: Page, other: Page) -> bool:
    if (page.palette is None) != (other.palette is None):
        return False
    same_palette = page.palette is None or np.array_equal(page.palette, other.palette)
    facts = ("bits", "orientation", "white_is_zero")
    same_facts = all(getattr(page, fact) == getattr(other, fact) for fact in facts)
    return same_palette and same_facts and page.values.shape == other.values.shape


def _join_pages(pages: Sequence[NDArray[np.integer]]) -> NDArray[np.integer]:
    """One mask of pages that each hold some of the objects."""
    if pages[0].ndim == 3:
        raise InputError(f"the TIFF holds {len(pages)} pages in colour; save one mask of class indices")
    joined = pages[0].copy()
    for page in pages[1:]:
        if ((joined != page) & (joined != 0) & (page != 0)).any():
            raise InputError(
                f"two of the {len(pages)} pages of the TIFF give a pixel to different classes; save one mask of class "
                "indices"
            )
        joined = np.maximum(joined, page)
    if joined.all() and not any(page.all() for page in pages):
        raise InputError(
            f"the {len(pages)} pages of the TIFF cover every pixel together, so that there is no background; save one "
            "mask of class indices"
        )
    return joined


def _values(page: Page) -> NDArray[np.integer]:
    """[H, W] values or [H, W, 3] colours of a page, which count from black."""
    values = _whole_numbers(page.values)
    if page.white_is_zero:
        values = _from_black(values, page)
    if values.ndim == 3:
        difference = values.max(2).astype(np.int64) - values.min(2)
        tolerated = _LARGEST_GREY_DIFFERENCE if page.lossy else 0
        values = values[..., 1] if (difference <= tolerated).all() else _colours_8_bit(values, page)
    if page.alpha is not None:
        _require_plain_transparency(values, page)
    return values


def _whole_numbers(values: NDArray) -> NDArray[np.integer]:
    if values.dtype.kind == "f":
        if not (
            np.isfinite(values).all()
            and (values == np.rint(values)).all()
            and np.abs(values.astype(np.float64)).max() < 2**31
        ):
            raise InputError("the mask has fractional values; save it as PNG with one value per class")
        values = values.astype(np.int64)
    if values.dtype.kind not in "uib":
        raise InputError(f"the mask has values of the kind {values.dtype}; save it as PNG with one value per class")
    if values.min() < 0:
        raise InputError("the mask has negative values; save it as PNG with one value per class")
    return values


def _from_black(values: NDArray[np.integer], page: Page) -> NDArray[np.integer]:
    """The values where the TIFF's tag states that 0 is white, which not every program respects that writes masks.

    Small numbers are likely class indices, and would become 255, 254, ...; 1 bit is what tifffile makes of boolean
    masks, whose ones are foreground, and other programs of pictures, whose zeros are.
    """
    top = 2**page.bits - 1
    if page.bits not in (8, 16) or page.values.dtype.kind != "u" or values.max() <= top // 2:
        raise InputError(
            f"the mask counts from white (the TIFF's tag WhiteIsZero) and holds values up to {values.max()} of {top}, "
            "so that its background is uncertain; save it as PNG"
        )
    return (top - values.astype(np.int64)).astype(values.dtype)


def _colours_8_bit(values: NDArray[np.integer], page: Page) -> NDArray[np.uint8]:
    if page.bits == 8:
        return values.astype(np.uint8)
    if page.bits != 16 or (values % 257).any():
        raise InputError(f"the mask is in colour with {page.bits} bits; save one grey value per class as PNG")
    return (values // 257).astype(np.uint8)


def _require_plain_transparency(values: NDArray[np.integer], page: Page) -> None:
    """Transparency may only repeat the values: each value has one, and what is fully transparent is background.

    Raises:
        InputError: it differs within a value, or hides values that are not background.
    """
    if page.alpha.min() == page.alpha.max():
        return
    codes = values.astype(np.int64) @ (65536, 256, 1) if values.ndim == 3 else values.astype(np.int64)
    pairs = np.unique(np.stack([codes.ravel(), page.alpha.ravel().astype(np.int64)]), axis=1)
    has_several = len(np.unique(pairs[0])) < pairs.shape[1]
    if has_several or (pairs[0][pairs[1] == 0] != 0).any():
        raise InputError(
            "the mask's transparency does not fit its values, so that its background is uncertain; save one grey value "
            "per class, without transparency, as PNG"
        )


def _listed(values: NDArray[np.integer], shown: int = 5) -> str:
    return ", ".join(map(str, values[:shown].tolist())) + (", ..." if len(values) > shown else "")
