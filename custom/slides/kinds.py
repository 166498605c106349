"""Which files are slides."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tifffile import TiffFile

from custom.pixels.formats import has_suffix
from custom.pixels.page import MAX_PIXELS

__all__ = ["SLIDE_SUFFIXES", "apart", "is_slide"]

SLIDE_SUFFIXES = (".svs", ".ndpi", ".scn")
_TIFF_SUFFIXES = (".tif", ".tiff")


def is_slide(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is read region by region: by its name, or as a TIFF of tiles with several levels or many pixels.

    A TIFF of tiles with one level and at most `MAX_PIXELS` pixels is a picture like any other, and so is what cannot be
    opened: reading it tells what is wrong.
    """
    if has_suffix(path, SLIDE_SUFFIXES):
        return os.path.isfile(path)
    if not has_suffix(path, _TIFF_SUFFIXES) or not os.path.isfile(path):
        return False
    try:
        with TiffFile(path) as file:
            series = file.series[0]
            page = series.keyframe
            large = page.imagewidth * page.imagelength > MAX_PIXELS
            return bool(page.is_tiled and (len(series.levels) > 1 or large))
    except Exception:  # tifffile raises errors of many kinds for a broken file
        return False


def apart(items: Iterable[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Data items {"image": path} in two lists: "slides", and "pictures", which hold volumes too."""
    lists: dict[str, list[dict[str, str]]] = {"pictures": [], "slides": []}
    for item in items:
        lists["slides" if is_slide(item["image"]) else "pictures"].append(item)
    return lists
