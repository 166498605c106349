"""Pictures side by side with captions, and rows below each other on white paper."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from custom.drawing.palette import Colour

__all__ = ["captioned_row", "sheet"]

_PAPER, _INK, _FAINT = (255, 255, 255), (32, 33, 36), (112, 116, 122)
_GAP = 8
_CAPTION_SIZE, _HEADING_SIZE, _TITLE_SIZE = 13, 14, 20


def captioned_row(tiles: Sequence[Image.Image], captions: Sequence[str], heading: str = "") -> Image.Image:
    """Tiles side by side, each above its caption, all under an optional heading.

    Text that does not fit is shortened in the middle.

    Args:
        tiles: pictures, of one height where possible (they are aligned at the top).
        captions: one text per tile; may be empty.
        heading: one line over the whole row.
    """
    if not tiles or len(tiles) != len(captions):
        raise ValueError(f"A row needs one caption per tile, got {len(tiles)} tiles and {len(captions)} captions.")
    top = _line_height(_HEADING_SIZE) if heading else 0
    caption_height = _line_height(_CAPTION_SIZE) if any(captions) else 0
    width = sum(picture.width for picture in tiles) + _GAP * (len(tiles) - 1)
    height = top + max(picture.height for picture in tiles)
    row = Image.new("RGB", (width, height + caption_height), _PAPER)
    _write(row, (0, 0), heading, _HEADING_SIZE, _INK, width)
    left = 0
    for picture, caption in zip(tiles, captions, strict=True):
        row.paste(picture, (left, top))
        _write(row, (left, height + 3), caption, _CAPTION_SIZE, _FAINT, picture.width)
        left += picture.width + _GAP
    return row


def sheet(rows: Sequence[Image.Image], title: str = "", subtitle: str = "") -> Image.Image:
    """Rows below each other on white paper with a margin, under an optional title and subtitle."""
    if not rows:
        raise ValueError("A sheet needs at least one row.")
    margin = 2 * _GAP
    width = max(row.width for row in rows)
    top = margin + (_line_height(_TITLE_SIZE) if title else 0) + (_line_height(_HEADING_SIZE) if subtitle else 0)
    top += _GAP if title or subtitle else 0
    height = top + sum(row.height for row in rows) + margin * len(rows)
    paper = Image.new("RGB", (width + 2 * margin, height), _PAPER)
    _write(paper, (margin, margin - 4), title, _TITLE_SIZE, _INK, width)
    subtitle_top = margin - 4 + (_line_height(_TITLE_SIZE) if title else 0)
    _write(paper, (margin, subtitle_top), subtitle, _HEADING_SIZE, _FAINT, width)
    for row in rows:
        paper.paste(row, (margin, top))
        top += row.height + margin
    return paper


def _line_height(font_size: int) -> int:
    return round(font_size * 1.6)


def _write(
    picture: Image.Image, corner: tuple[int, int], text: str, font_size: int, colour: Colour, width: int
) -> None:
    """Write one line at `corner`, shortened in the middle to fit `width` pixels."""
    font = ImageFont.load_default(font_size)
    ImageDraw.Draw(picture).text(corner, _shorten(text, font, width), fill=colour, font=font)


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    shown, kept = text, len(text)
    while font.getlength(shown) > width and kept > 0:
        kept -= 1
        shown = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
    return shown
