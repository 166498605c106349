"""Regions of a slide, at one of its levels."""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile

from custom.errors import InputError, short_reason
from custom.files import require_regular_file
from custom.pixels.images import MOST_BIT_DEPTH, to_8_bits
from custom.pixels.naming import UnreadableFile, shown_path
from custom.pixels.page import Page

__all__ = ["Slide"]

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong with a file becomes an error here

_MICRONS = (0.02, 50)
"""Sides of a pixel that a microscope gives. Programs that know of none write that of a screen, such as 72 dpi."""
_JPEGS = (COMPRESSION.JPEG, COMPRESSION.ALT_JPEG, COMPRESSION.APERIO_JP2000_YCBC, COMPRESSION.APERIO_JP2000_RGB)


class Slide:
    """A slide that is open, read by tiffslide a region at a time.

    MONAI's reader of slides with tifffile decodes a whole level for a region, and its other two need OpenSlide or
    cuCIM, which are no Python packages alone.

    Attributes:
        path: the file.
        size: (width, height) of the largest level, in pixels.
        level_sizes: likewise of each level.
        microns: sides (x, y) of a pixel of the largest level in micrometres; None where the file does not tell.

    Args:
        path: the file.
        bit_depth: see `custom.pixels.read_image`.

    Raises:
        UnreadableFile: it is missing or broken.
        InputError: it holds pixels of another kind than brightness or colours, or several pictures. It names the file.
    """

    def __init__(self, path: str | os.PathLike[str], bit_depth: int | None = MOST_BIT_DEPTH) -> None:
        require_regular_file(path)
        open_slide = _tiffslide()
        self.path = path
        self.bit_depth = bit_depth
        try:
            with warnings.catch_warnings():  # of formats whose associated images it does not know
                warnings.simplefilter("ignore")
                self._slide = open_slide(os.fspath(path))
                properties = self._slide.properties
                _require_one_picture(self._slide.ts_tifffile, properties["tiffslide.series-index"])
                self.level_sizes = tuple(self._slide.level_dimensions)
        except InputError as error:
            raise InputError(f"{shown_path(path)}: {error}") from error
        except Exception as error:  # tifffile and tiffslide raise errors of many kinds for a broken file
            raise self._unreadable(error) from error
        self.size: tuple[int, int] = self.level_sizes[0]
        self.microns = _microns(properties)
        self._regions: dict[int, list] = properties.get("tiffslide.series-composition", {}).get("located_series", {})

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._slide.close()

    def level_for(self, shrinking: float) -> int:
        """The smallest level that is larger than the slide divided by `shrinking`, or nearly as large."""
        factors = [self.size[0] / width for width, _ in self.level_sizes]
        return max(level for level, factor in enumerate(factors) if level == 0 or factor <= shrinking * 1.02)

    def read(self, level: int, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        """Colours [height, width, 3] of a region in the pixels of a level, which holds all of it.

        Raises:
            UnreadableFile: its tiles cannot be decoded.
            InputError: see `custom.pixels.read_image`; it names the file.
        """
        level_width, level_height = self.level_sizes[level]
        try:
            shrinking = self._slide.level_downsamples[level]
            corner = (_unshrunk(left, shrinking), _unshrunk(top, shrinking))
            values = self._slide.read_region(corner, level, (width, height), as_array=True, padding=False)
        except Exception as error:
            raise self._unreadable(error) from error
        if values.shape[:2] != (height, width):
            raise InputError(
                f"{shown_path(self.path)}: level {level} of {level_width}x{level_height} pixels is cut short; "
                "replace the file"
            )
        return self._to_rgb(self._with_glass(np.asarray(values), level, left, top))

    def _with_glass(self, values: NDArray, level: int, left: int, top: int) -> NDArray:
        """Leica's scanners scan regions of the glass, and tiffslide gives what is between them in black: here white."""
        if not self._regions:
            return values
        scanned = np.zeros(values.shape[:2], bool)
        for number, corners in self._regions.items():
            height, width = self._slide.ts_tifffile.series[number].levels[level].shape[:2]
            first_row, first_column = corners[level][0] - top, corners[level][1] - left
            rows = slice(max(first_row, 0), max(first_row + height, 0))
            scanned[rows, max(first_column, 0) : max(first_column + width, 0)] = True
        return np.where(scanned[..., None], values, np.iinfo(values.dtype).max).astype(values.dtype)

    def _to_rgb(self, values: NDArray) -> NDArray[np.uint8]:
        colours, alpha = values, None
        if values.shape[2] in (2, 4):
            colours, alpha = values[..., :-1], values[..., -1]
        page = Page(
            colours[..., 0] if colours.shape[2] == 1 else colours,
            values.dtype.itemsize * 8,
            alpha=alpha,
            opaque=np.iinfo(values.dtype).max,
        )
        try:
            brightness = to_8_bits(page, self.bit_depth)
        except InputError as error:
            raise InputError(f"{shown_path(self.path)}: {error}") from error
        return brightness if brightness.ndim == 3 else np.repeat(brightness[..., None], 3, axis=2)

    def _unreadable(self, error: Exception) -> UnreadableFile:
        reason = short_reason(error, 300)
        return UnreadableFile(f"{shown_path(self.path)} cannot be read as a slide; replace the file ({reason})")


def _tiffslide() -> Callable[[str], Any]:
    try:
        from tiffslide import TiffSlide
    except ImportError as error:
        raise InputError("slides need tiffslide, see requirements.txt; install it, or give pictures") from error
    return TiffSlide


def _unshrunk(place: int, shrinking: float) -> int:
    """The first pixel of the largest level that tiffslide, which divides and rounds down, takes for `place`."""
    pixel = math.ceil(place * shrinking)
    return pixel if int(pixel / shrinking) == place else pixel + 1


def _require_one_picture(file: TiffFile, number: int) -> None:
    series = file.series[number]
    page = series.keyframe
    inks = (PHOTOMETRIC.RGB, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.YCBCR)
    ycbcr = page.photometric == PHOTOMETRIC.YCBCR and page.compression not in _JPEGS
    if page.photometric not in inks or ycbcr or page.dtype not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        kind = f"{getattr(page.photometric, 'name', page.photometric)} of type {page.dtype}"
        raise InputError(f"the slide holds pixels of the kind {kind}; save it as RGB with 8 or 16 bits per channel")
    if page.samplesperpixel > 4 or series.axes not in ("YX", "YXS"):
        raise InputError(f"the slide has the axes {series.axes} {series.shape}; save it as one picture in grey or RGB")
    count = sum(other.shape == series.shape for other in file.series)
    # scanners add a thumbnail, a label and a photograph, and some keep pieces of tissue apart
    if count > 1 and not (file.is_svs or file.is_scn or file.is_ndpi or file.is_philips):
        raise InputError(f"the file holds {count} pictures of one size; save the one that is meant by itself")


def _microns(properties: dict[str, Any]) -> tuple[float, float] | None:
    stated = [properties.get(f"tiffslide.mpp-{axis}") for axis in "xy"]
    try:
        sides = [float(side) for side in stated]
    except (TypeError, ValueError):
        return None
    return (sides[0], sides[1]) if all(_MICRONS[0] <= side <= _MICRONS[1] for side in sides) else None
