"""What a picture file stores: values, palette, transparency and orientation, before anything is made of them."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from tifffile import TiffFile

from custom.errors import InputError
from custom.pixels.page import Page, require_pixels_at_most
from custom.pixels.tiff import read_tiff

__all__ = ["read_pages", "stored_bits"]

Image.init()  # else Pillow does not recognise some of these formats
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP")
_LOSSY = ("JPEG", "MPO", "WEBP")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION_TAG = 0x0112


def read_pages(path: str | PathLike[str], most_pixels: int, several: bool = False) -> list[Page]:
    """All pictures of a file that count; thumbnails and smaller copies within a TIFF do not.

    TIFF is read by its tags (tifffile), 16-bit PNG by libpng (imagecodecs), all else by Pillow. Messages do not name
    the file: see `naming`.

    Args:
        path: a regular file.
        most_pixels: refuse more pixels, of all pages together.
        several: whether a TIFF of several pages is allowed.

    Raises:
        InputError: more pixels or pages than are allowed, or a kind of pixels that is uncertain.
        Exception: decoders raise errors of many kinds for a broken file.
    """
    with open(path, "rb") as file:
        start = file.read(26)
    if start[:4] in _TIFF_STARTS:
        return read_tiff(path, most_pixels, several)
    with Image.open(path, formats=_FORMATS) as picture:
        require_pixels_at_most(*picture.size, most_pixels)
        frames = getattr(picture, "n_frames", 1)
        if frames > 1 and picture.format != "MPO":  # the first of an MPO is the photograph
            raise InputError(f"the file holds {frames} pictures (an animation); save the one that is meant by itself")
        bits = start[24] if picture.format == "PNG" else 8
        picture.load()
        return [_deep_png(Path(path), picture) if bits == 16 else _page(picture, bits)]


def stored_bits(path: str | PathLike[str]) -> int:
    """Bits of a value in a file's first picture, from its header; nothing is decoded.

    Raises:
        Exception: a broken header.
    """
    with open(path, "rb") as file:
        start = file.read(26)
    if start[:4] in _TIFF_STARTS:
        with TiffFile(path) as file:
            bits = file.pages.first.bitspersample
        return bits if isinstance(bits, int) else max(bits)
    return start[24] if start[:4] == b"\x89PNG" and len(start) == 26 else 8


def _orientation(picture: Image.Image) -> int:
    value = picture.getexif().get(_ORIENTATION_TAG, 1)
    return value if value in range(1, 9) else 1


def _page(picture: Image.Image, bits: int) -> Page:
    """The page of a picture with at most 8 bits per channel."""
    facts = {"orientation": _orientation(picture), "lossy": picture.format in _LOSSY}
    key = picture.info.get("transparency")
    if picture.mode == "P":
        return _palette_page(picture, key, facts)
    if picture.mode == "CMYK":
        picture = picture.convert("RGB")
    values = np.asarray(picture)
    if picture.mode == "1":
        values, bits, key = values.astype(np.uint8), 1, None if key is None else int(key > 0)
    elif picture.mode == "L" and bits in (2, 4):
        values = values // (255 // (2**bits - 1))  # Pillow spreads them over 0 to 255
    elif picture.mode in ("LA", "RGBA", "PA"):
        colours = values[..., 0] if picture.mode == "LA" else values[..., :3]
        return Page(colours, alpha=values[..., -1], **facts)
    elif picture.mode not in ("L", "RGB"):
        raise InputError(f"the pixels are of the kind {picture.mode}; save the picture as grey or RGB PNG")
    else:
        bits = 8
    if key is None or isinstance(key, bytes):
        return Page(values, bits, **facts)
    shines = (values == np.asarray(key)).reshape(*values.shape[:2], -1).all(2)
    return Page(values, bits, alpha=np.where(shines, 0, 255), **facts)


def _palette_page(picture: Image.Image, key: int | bytes | None, facts: dict) -> Page:
    indices = np.asarray(picture)
    palette = np.reshape(np.asarray(picture.getpalette("RGB"), np.uint8), (-1, 3))
    if indices.max() >= len(palette):
        raise InputError(
            f"the palette has {len(palette)} colours and pixels have colour {indices.max()}; save the picture as RGB"
        )
    alpha = None
    if key is not None:
        table = np.full(256, 255, np.uint8)
        if isinstance(key, bytes):
            table[: len(key)] = np.frombuffer(key, np.uint8)
        else:
            table[key] = 0
        alpha = table[indices]
    return Page(indices, 8, palette, alpha, **facts)


def _deep_png(path: Path, header: Image.Image) -> Page:
    """Pillow drops the lower byte of 16-bit colours and of grey with transparency."""
    values = imagecodecs.png_decode(path.read_bytes())
    alpha = None
    if values.ndim == 3 and values.shape[2] in (2, 4):
        values, alpha = values[..., :-1], values[..., -1]
        values = values[..., 0] if values.shape[2] == 1 else values
    return Page(values, 16, alpha=alpha, opaque=65535, orientation=_orientation(header))
