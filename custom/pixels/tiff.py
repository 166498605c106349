"""TIFF, decided by its tags: byte order, which end is white, planes, transparency, pages."""

from __future__ import annotations

import logging
import math
from os import PathLike

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage

from custom.errors import InputError
from custom.pixels.page import Page, require_pixels_at_most

__all__ = ["read_tiff"]

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file becomes an error here

_SMALLER_COPY, _TRANSPARENCY_MASK = 1, 4  # bits of the tag NewSubfileType
_OLD_SUBFILE_TAG, _OLD_SMALLER_COPY = 255, 2
_ORIENTATION_TAG, _MOST_PAGES = 274, 10_000
_COLOURS = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.SEPARATED: 4,
}
"""Samples of a pixel that are colour, by photometric interpretation; further ones are transparency or unknown."""
_LOSSY = {COMPRESSION.JPEG, COMPRESSION.OJPEG, COMPRESSION.ALT_JPEG, COMPRESSION.WEBP, COMPRESSION.JPEGXR}


def read_tiff(path: str | PathLike[str], most_pixels: int, several: bool) -> list[Page]:
    """See `read_pages`."""
    with TiffFile(path) as file:
        pages = _pages_that_count(file)
        if len(pages) > 1 and not several:
            raise InputError(f"the TIFF holds {len(pages)} pages; save the one that is meant, or each, by itself")
        first = pages[0]
        if any((page.imagewidth, page.imagelength) != (first.imagewidth, first.imagelength) for page in pages):
            raise InputError(
                f"the TIFF holds {len(pages)} pages of several sizes; save the one that is meant by itself"
            )
        require_pixels_at_most(first.imagewidth, first.imagelength, most_pixels, len(pages))
        return [_page(page, file.filehandle.size) for page in pages]


def _pages_that_count(file: TiffFile) -> list[TiffPage]:
    stacked = _stacked(file)
    if len(file.pages) > _MOST_PAGES or stacked > len(file.pages):
        count = max(stacked, len(file.pages))
        raise InputError(f"the TIFF holds {count} pages; save the one that is meant, or each, by itself")
    file.pages.useframes = False
    pages = [file.pages[number].aspage() for number in range(len(file.pages))]
    return [page for page in pages if not _is_extra(page)] or pages


def _stacked(file: TiffFile) -> int:
    """Pictures that ImageJ or tifffile stored behind a single page, which the page's description counts."""
    first = file.pages.first
    count = (file.imagej_metadata or {}).get("images", 1) if file.is_imagej else 1
    if file.is_shaped:
        shapes = [description.get("shape", ()) for description in file.shaped_metadata or () if description]
        count = max([count, *(math.prod(shape) // max(1, math.prod(first.shape)) for shape in shapes[:1])])
    return int(count)


def _is_extra(page: TiffPage) -> bool:
    """Whether a page is a thumbnail, a smaller copy or a mask of transparency of another."""
    old = page.tags.get(_OLD_SUBFILE_TAG)
    return bool(page.subfiletype & (_SMALLER_COPY | _TRANSPARENCY_MASK)) or (
        old is not None and old.value == _OLD_SMALLER_COPY
    )


def _page(page: TiffPage, file_size: int) -> Page:
    photometric = page.photometric
    if photometric not in _COLOURS or page.imagedepth != 1:
        raise InputError(f"the TIFF is of the kind {getattr(photometric, 'name', photometric)}; save it as grey or RGB")
    if photometric == PHOTOMETRIC.YCBCR and page.compression not in (COMPRESSION.JPEG, COMPRESSION.ALT_JPEG):
        raise InputError("the TIFF holds YCbCr colours; save it as RGB")
    if page.samplesperpixel > 8:
        raise InputError(f"the TIFF has {page.samplesperpixel} values per pixel; save it as grey or RGB")
    bits = page.bitspersample
    if not isinstance(bits, int):
        raise InputError(f"the TIFF has channels of different bits ({bits}); save it with 8 or 16 bits per channel")
    _require_whole(page, file_size)
    samples = _samples_last(page)
    colours = _COLOURS[photometric]
    if not colours <= samples.shape[2] <= colours + 1:
        raise InputError(f"the TIFF has {samples.shape[2]} values per pixel where {colours} belong; save it again")
    values, extra = samples[..., :colours], samples[..., colours:]
    values = values[..., 0] if colours == 1 else values
    if photometric == PHOTOMETRIC.SEPARATED:
        values = _from_inks(values, bits)
    orientation = page.tags.get(_ORIENTATION_TAG)
    orientation = orientation.value if orientation is not None and orientation.value in range(1, 9) else 1
    opaque = 2**bits - 1
    return Page(
        values.astype(np.uint8) if values.dtype == bool else values,
        bits,
        _palette(page) if photometric == PHOTOMETRIC.PALETTE else None,
        extra[..., 0] if extra.shape[2] else None,
        opaque,
        orientation,
        photometric == PHOTOMETRIC.MINISWHITE,
        page.compression in _LOSSY,
    )


def _require_whole(page: TiffPage, file_size: int) -> None:
    """tifffile fills what a cut-short file lacks with zeros."""
    ends = [offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)]
    missing = any(
        count <= 0 or offset <= 0 for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True)
    )
    if not ends or missing or len(ends) < int(np.prod(page.chunked)) or max(ends) > file_size:
        raise ValueError("TIFF is cut short")
    if page.compression == COMPRESSION.NONE:
        needed = int(np.prod(page.shape)) * page.bitspersample // 8
        if sum(page.databytecounts) < needed:
            raise ValueError("TIFF is cut short")


def _samples_last(page: TiffPage) -> NDArray:
    """Decoded values [H, W, samples], also where each colour is stored as a plane of its own."""
    values = page.asarray(maxworkers=1)
    if values.ndim == 2:
        return values[..., None]
    if page.axes == "SYX":
        return np.moveaxis(values, 0, -1)
    if page.axes == "YXS":
        return values
    raise InputError(f"the TIFF has the axes {page.axes}; save it as grey or RGB")


def _from_inks(values: NDArray, bits: int) -> NDArray[np.uint8]:
    if bits != 8:
        raise InputError(f"the TIFF holds CMYK colours of {bits} bits; save it as RGB")
    return np.asarray(Image.fromarray(np.ascontiguousarray(values), "CMYK").convert("RGB"))


def _palette(page: TiffPage) -> NDArray[np.uint8]:
    if page.colormap is None or page.bitspersample > 8:
        raise InputError("the TIFF has indices and no palette of at most 256 colours; save it as PNG")
    palette = np.asarray(page.colormap).T.astype(np.int64)
    return (palette if palette.max() <= 255 else palette // 257).astype(np.uint8)  # some programs write 8 bits
