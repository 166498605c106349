"""Images and maps as small pictures.

Arrays come in MONAI's spatial order ([C, W, H], [W, H]; numpy or torch) and are transposed here, once, so that pictures
stand upright. Every function returns a new RGB `PIL.Image.Image`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image

from custom.drawing.arrays import as_labels, as_numpy
from custom.drawing.palette import DIFFERENCE_COLOUR, IGNORED_COLOUR

__all__ = ["difference_tile", "tile", "veil"]


def tile(array: ArrayLike | torch.Tensor, size: int = 160) -> Image.Image:
    """Turn an image or a map into a picture whose longer side is `size` pixels.

    Args:
        array: [3, W, H], [1, W, H] or [W, H] with values in [0, 1]; values outside are clipped. A soft prediction
            in [0, K - 1] has to be divided by K - 1 first.
        size: pixels of the longer side.

    Raises:
        ValueError: when the array has another shape.
    """
    array = as_numpy(array)
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


def difference_tile(
    image: ArrayLike | torch.Tensor, first: ArrayLike | torch.Tensor, second: ArrayLike | torch.Tensor, size: int = 160
) -> Image.Image:
    """A dark grey image on which the pixels with two different labels have a bright colour.

    Args:
        image: see `tile`.
        first: labels or soft ordinal predictions, [W, H] or [1, W, H], of one branch.
        second: the same of the other branch.
        size: see `tile`.
    """
    ground = tile(image, size).convert("L").point(lambda level: level * 0.45).convert("RGB")
    differing = as_labels(first) != as_labels(second)
    ground.paste(DIFFERENCE_COLOUR, mask=tile(differing, size).convert("L"))
    return ground


def veil(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """The picture with a grey veil over the pixels of a mask [W, H], such as those whose class is undecided."""
    covered = picture.copy()
    covered.paste(IGNORED_COLOUR, mask=tile(mask, max(picture.size)).convert("L").point(lambda level: level * 0.7))
    return covered
