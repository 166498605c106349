"""Slides as scanners of several makers write them."""

from __future__ import annotations

import numpy as np
import pytest
from tiffslide import TiffSlide

from custom.slides import Slide
from tests.slides.files import shrunk, tissue, write_hamamatsu, write_leica

VALUES = tissue(512, 384)


def slide_of(maker, path):
    """A file of a maker, and where on it `VALUES` are."""
    if maker == "hamamatsu":
        return write_hamamatsu(path / "slide.ndpi", VALUES), (0, 0)
    return write_leica(path / "slide.scn", VALUES, corner=(60, 40)), (60, 40)


@pytest.mark.filterwarnings("ignore:hamamatsu-format metadata")
@pytest.mark.parametrize("maker", ["hamamatsu", "leica"])
def test_regions_of_all_levels_are_read(maker, tmp_path):
    path, (left, top) = slide_of(maker, tmp_path)
    with TiffSlide(path) as known:
        assert known.properties["tiffslide.vendor"] == maker
    with Slide(path) as slide:
        assert slide.size == (512 + 2 * left, 384 + 2 * top)
        assert slide.microns == (0.5, 0.5)
        for level, factor in enumerate((1, 2, 4)):
            assert slide.level_sizes[level] == (slide.size[0] // factor, slide.size[1] // factor)
            found = slide.read(level, left // factor + 10, top // factor + 20, 100, 60).astype(int)
            difference = np.abs(found - shrunk(VALUES, factor)[20:80, 10:110])
            assert difference.mean() < 5 and difference.max() < 60  # JPEG


def test_what_leica_did_not_scan_is_white(tmp_path):
    path, (left, top) = slide_of("leica", tmp_path)
    with Slide(path) as slide:
        for level, factor in enumerate((1, 2, 4)):
            width, height = slide.level_sizes[level]
            found = slide.read(level, 5, 8, width - 5, height - 8)
            scanned = np.zeros((height, width), bool)
            scanned[top // factor : -top // factor, left // factor : -left // factor] = True
            assert (found[~scanned[8:, 5:]] == 255).all()
            assert found[scanned[8:, 5:]].mean() < 150
        assert (slide.read(0, 0, 0, 30, 20) == 255).all()
