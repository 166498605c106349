"""Small drawing helpers for case sheets and training panels, on Pillow alone.

Arrays come in MONAI's spatial order ([C, W, H], [W, H]; numpy or torch) and are transposed here, once, so the pictures
stand upright. Everything returns a new RGB `PIL.Image.Image`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import find_contours

from custom.labels import IGNORED_LABEL
from custom.labels.codec import LabelCodec

__all__ = [
    "CLASS_COLOURS",
    "DISAGREEMENT_COLOUR",
    "IGNORED_COLOUR",
    "TRUTH_COLOUR",
    "captioned_row",
    "case_panel",
    "disagreement_tile",
    "draw_contour",
    "sheet",
    "tile",
]

Colour = tuple[int, int, int]

TRUTH_COLOUR: Colour = (64, 224, 255)
DISAGREEMENT_COLOUR: Colour = (255, 64, 160)
IGNORED_COLOUR: Colour = (128, 128, 128)
# One colour a foreground class, tellable apart by colour-blind readers (after Okabe and Ito, 2008).
CLASS_COLOURS: tuple[Colour, ...] = (
    (255, 196, 0),
    (86, 180, 233),
    (0, 190, 140),
    (240, 110, 30),
    (204, 121, 167),
    (240, 228, 66),
)

_PAPER, _INK, _FAINT = (255, 255, 255), (32, 33, 36), (112, 116, 122)
_GAP = 8
_CAPTION_SIZE, _HEADING_SIZE, _TITLE_SIZE = 13, 14, 20
_SUPERSAMPLING = 4  # contours are drawn this much larger and shrunk, which smooths their edges


def tile(array: ArrayLike | torch.Tensor, size: int = 160) -> Image.Image:
    """Turn an image or a map into a picture whose longer side is `size` pixels.

    Args:
        array: [3, W, H], [1, W, H] or [W, H] with values in [0, 1]; values outside are clipped. A soft prediction
            in [0, K - 1] has to be divided by K - 1 first.
        size: pixels of the longer side.

    Raises:
        ValueError: when the array has another shape.
    """
    array = _as_numpy(array)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise ValueError(f"A tile needs [3, W, H], [1, W, H] or [W, H], got {array.shape}.")
    array = np.nan_to_num(array.astype(np.float32)).clip(0, 1)
    pixels = np.rint(array * 255).astype(np.uint8).transpose(2, 1, 0)  # [H, W, C]
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).convert("RGB")
    scale = size / max(picture.size)
    return picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.BICUBIC
    )


def draw_contour(
    image_tile: Image.Image, mask: ArrayLike | torch.Tensor, colour: Colour, width: float = 1.6
) -> Image.Image:
    """The tile with the outline of a mask drawn over it, with a dark rim that keeps it visible on any background.

    Args:
        image_tile: a picture of the same scene, of any size (see `tile`).
        mask: [W, H]; non-zero is inside.
        colour: colour of the line.
        width: thickness of the line in pixels of the tile.
    """
    mask = _as_numpy(mask) != 0
    lines = _outlines(mask, image_tile.size, inset=width / 2)
    picture = image_tile.convert("RGB")
    for line_width, line_colour, opacity in ((width + 1.6, (0, 0, 0), 0.55), (width, colour, 1.0)):
        stencil = _line_stencil(lines, picture.size, line_width).point(lambda level, share=opacity: level * share)
        picture.paste(line_colour, mask=stencil)
    return picture


def disagreement_tile(
    image: ArrayLike | torch.Tensor, first: ArrayLike | torch.Tensor, second: ArrayLike | torch.Tensor, size: int = 160
) -> Image.Image:
    """A dimmed grey image on which the pixels with two different labels shine.

    Args:
        image: see `tile`.
        first: labels or soft ordinal predictions, [W, H] or [1, W, H], of one branch.
        second: the same of the other branch.
        size: see `tile`.
    """
    ground = tile(image, size).convert("L").point(lambda level: level * 0.45).convert("RGB")
    differing = _as_labels(first) != _as_labels(second)
    ground.paste(DISAGREEMENT_COLOUR, mask=tile(differing, size).convert("L"))
    return ground


def captioned_row(tiles: Sequence[Image.Image], captions: Sequence[str], heading: str = "") -> Image.Image:
    """Tiles side by side, each above its caption, all under an optional heading.

    Text that does not fit is shortened in the middle.

    Args:
        tiles: pictures, of one height where possible (they are aligned at the top).
        captions: one text a tile; may be empty.
        heading: one line over the whole row.
    """
    if not tiles or len(tiles) != len(captions):
        raise ValueError(f"A row needs one caption a tile, got {len(tiles)} tiles and {len(captions)} captions.")
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


def case_panel(
    image: ArrayLike | torch.Tensor,
    truth: ArrayLike | torch.Tensor | None,
    predictions: Mapping[str, ArrayLike | torch.Tensor],
    num_classes: int = 2,
    size: int = 160,
    heading: str = "",
    notes: Mapping[str, str] | None = None,
) -> Image.Image:
    """One image with all that is known of it, in a row: image | truth | branches | mean | disagreement.

    Truth is outlined in its own colour, for two classes also thinly on every prediction; predictions are outlined in
    the colours of their classes. Where the truth is `IGNORED_LABEL` its tile is grey. The disagreement of the branches
    is shown when there are exactly two of them; its share is one of the other pixels.

    Args:
        image: [3, W, H] or [1, W, H] in [0, 1].
        truth: labels [W, H] or [1, W, H], or None for an unlabelled image.
        predictions: name -> labels or soft ordinal values in [0, K - 1], [W, H] or [1, W, H]. A prediction called
            "mean" is drawn after the others, which count as branches.
        num_classes: K, with the background.
        size: pixels of the longer side of a tile.
        heading: one line over the row.
        notes: name of a prediction -> words to add to its caption, such as a score.
    """
    scene = tile(image, size)
    known = np.True_
    if truth is not None:
        truth = _as_labels(truth)
        known = truth != IGNORED_LABEL
        truth = truth * known
    labels = {name: _as_labels(values) for name, values in predictions.items()}
    branches = [name for name in labels if name != "mean"]
    ordered = [*branches, "mean"] if "mean" in labels else branches

    tiles, captions = [scene], ["image"]
    if truth is not None:
        colours = (TRUTH_COLOUR,) if num_classes == 2 else CLASS_COLOURS
        tiles.append(_draw_classes(_cover(scene, ~known), truth, num_classes, colours))
        captions.append("truth" if known.all() else "truth (grey: ignored)")
    for name in ordered:
        ground = scene
        if truth is not None and num_classes == 2:
            ground = draw_contour(scene, truth, TRUTH_COLOUR, width=1)
        tiles.append(_draw_classes(ground, labels[name], num_classes, CLASS_COLOURS))
        captions.append(_caption(name, (notes or {}).get(name, "")))
    if len(branches) == 2:
        first, second = (labels[name] for name in branches)
        tiles.append(disagreement_tile(image, first, second, size))
        captions.append(f"disagreement {_share(first != second, known):.1%}")
    return captioned_row(tiles, captions, heading)


def _as_numpy(array: ArrayLike | torch.Tensor) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().float().numpy()
    return np.asarray(array)


def _as_labels(values: ArrayLike | torch.Tensor) -> np.ndarray:
    values = _as_numpy(values)
    values = (values[0] if values.ndim == 3 else values).astype(np.float32)
    return LabelCodec.harden(torch.from_numpy(values)).numpy()


def _caption(name: str, note: str) -> str:
    return f"{name.replace('_', ' ')} · {note}" if note else name.replace("_", " ")


def _share(pixels: np.ndarray, known: np.ndarray | np.bool) -> float:
    """Share of the known pixels; 0 if there are none."""
    known = np.broadcast_to(known, pixels.shape)
    return pixels[known].mean() if known.any() else 0.0


def _cover(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """The picture with a grey veil over a mask [W, H]."""
    covered = picture.copy()
    covered.paste(IGNORED_COLOUR, mask=tile(mask, max(picture.size)).convert("L").point(lambda level: level * 0.7))
    return covered


def _draw_classes(picture: Image.Image, labels: np.ndarray, num_classes: int, colours: Sequence[Colour]) -> Image.Image:
    for index in range(1, num_classes):
        picture = draw_contour(picture, labels == index, colours[(index - 1) % len(colours)])
    return picture


def _outlines(mask: np.ndarray, size: tuple[int, int], inset: float) -> list[np.ndarray]:
    """Closed outlines of a mask [W, H] as (x, y) points in pixels of a picture of `size`, kept `inset` off its edge."""
    scale = np.array(size) / mask.shape
    # The padding closes outlines at the image border; 1 undoes it, 0.5 moves from pixel centres to their corners.
    lines = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    return [((line - 1 + 0.5) * scale).clip(inset, np.array(size) - inset) for line in lines]


def _line_stencil(lines: Sequence[np.ndarray], size: tuple[int, int], width: float) -> Image.Image:
    """A grey stencil of `size` with the lines in white."""
    stencil = Image.new("L", (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING))
    pen = ImageDraw.Draw(stencil)
    for line in lines:
        points = [tuple(point) for point in line * _SUPERSAMPLING]
        pen.line(points, fill=255, width=round(width * _SUPERSAMPLING), joint="curve")
    return stencil.resize(size, Image.Resampling.BOX)


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
