"""One image with its truth and its predictions, in a row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image

from custom.drawing.arrays import as_labels
from custom.drawing.outlines import draw_classes, draw_contour, draw_truth
from custom.drawing.palette import TRUTH_COLOUR
from custom.drawing.sheet import captioned_row
from custom.drawing.tiles import difference_tile, tile, veil
from custom.labels.values import IGNORED_LABEL

__all__ = ["case_panel"]


def case_panel(
    image: ArrayLike | torch.Tensor,
    truth: ArrayLike | torch.Tensor | None,
    predictions: Mapping[str, ArrayLike | torch.Tensor],
    num_classes: int = 2,
    size: int = 160,
    heading: str = "",
    notes: Mapping[str, str] | None = None,
) -> Image.Image:
    """One image with all that is known of it, in a row: image | truth | branches | mean | where the branches differ.

    Truth is outlined in its own colour, for two classes also thinly on every prediction; predictions are outlined in
    the colours of their classes. Where the truth is `IGNORED_LABEL` its tile is grey. Where the branches differ
    is shown when there are exactly two of them; the share in the caption is one of the pixels that are not ignored.

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
        truth = as_labels(truth)
        known = truth != IGNORED_LABEL
        truth = truth * known
    labels = {name: as_labels(values) for name, values in predictions.items()}
    branches = [name for name in labels if name != "mean"]
    ordered = [*branches, "mean"] if "mean" in labels else branches

    tiles, captions = [scene], ["image"]
    if truth is not None:
        tiles.append(draw_truth(veil(scene, ~known), truth, num_classes))
        captions.append("truth" if known.all() else "truth (grey: ignored)")
    for name in ordered:
        ground = scene
        if truth is not None and num_classes == 2:
            ground = draw_contour(scene, truth, TRUTH_COLOUR, width=1)
        tiles.append(draw_classes(ground, labels[name], num_classes))
        captions.append(_caption(name, (notes or {}).get(name, "")))
    if len(branches) == 2:
        first, second = (labels[name] for name in branches)
        tiles.append(difference_tile(image, first, second, size))
        captions.append(f"difference {_share(first != second, known):.1%}")
    return captioned_row(tiles, captions, heading)


def _caption(name: str, note: str) -> str:
    return f"{name.replace('_', ' ')} · {note}" if note else name.replace("_", " ")


def _share(pixels: np.ndarray, known: np.ndarray | np.bool) -> float:
    """Share of the known pixels; 0 if there are none."""
    known = np.broadcast_to(known, pixels.shape)
    return pixels[known].mean() if known.any() else 0.0
