"""At which scale a network sees a slide."""

from __future__ import annotations

from custom.errors import InputError
from custom.pixels.naming import shown_path
from custom.pixels.page import MAX_PIXELS
from custom.slides.reading import Slide
from custom.slides.view import SlideView
from custom.transforms.slices import grid_size

__all__ = ["doubt", "view_of"]


def view_of(
    slide: Slide,
    side: int,
    source_side: float | None,
    windows_above: int | None,
    microns_per_pixel: float | None = None,
    bgr: bool = False,
) -> SlideView:
    """The slide as the network sees it: as `ResizeSlicesd` resizes a picture whose pixels are those of the training.

    Args:
        slide: the slide.
        side: of the network's square in pixels.
        source_side: see `ResizeSlicesd`.
        windows_above: likewise.
        microns_per_pixel: side of a pixel of the training's images in micrometres. None where that is unknown: then
            pixels of the slide are taken for as large, as they are where the slide does not tell its own.
        bgr: see `SlideView`.

    Raises:
        InputError: it has more than `MAX_PIXELS` pixels and is not to be predicted in windows. It names the file.
    """
    shrinking = (1.0, 1.0)
    if microns_per_pixel is not None and slide.microns is not None:
        shrinking = tuple(microns_per_pixel / own for own in slide.microns)
    as_trained = tuple(length / factor for length, factor in zip(slide.size, shrinking, strict=True))
    size = grid_size(as_trained, (side, side), source_side, windows_above)
    if size == (side, side) and slide.size[0] * slide.size[1] > MAX_PIXELS:
        raise InputError(f"{shown_path(slide.path)}: {_why_not(slide, source_side, windows_above)}")
    return SlideView(slide, size, shrinking[0], bgr)


def _why_not(slide: Slide, source_side: float | None, windows_above: int | None) -> str:
    pixels = f"{slide.size[0]}x{slide.size[1]} pixels are more than {MAX_PIXELS}"
    if source_side is None:
        return (
            f'{pixels}, and the model is of data without a fixed scale; train with "fixed_scale": true in '
            "datalist.json, or give parts of the slide as pictures"
        )
    if windows_above is None:
        return f"{pixels}, and windows_above is none; give --windows_above 2048"
    return f"{pixels}, and at the scale of the training no larger than {windows_above}; give a lower --windows_above"


def doubt(slide: Slide, source_side: float | None, microns_per_pixel: float | None) -> str | None:
    """Why the scale of the slide may be another than that of the training; None where it is known, or never is.

    Args:
        slide: the slide.
        source_side: see `view_of`.
        microns_per_pixel: likewise.
    """
    if source_side is None or (slide.microns is None) == (microns_per_pixel is None):
        return None
    if microns_per_pixel is None:
        return (
            f"{shown_path(slide.path)}: its pixels of {slide.microns[0]:.3g} micrometres are taken for as large as "
            "those of the training, which the model does not tell; give --microns_per_pixel"
        )
    return (
        f"{shown_path(slide.path)} does not tell the size of its pixels; they are taken for as large as those of the "
        f"training, {microns_per_pixel:.3g} micrometres"
    )
