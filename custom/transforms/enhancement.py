"""Strong changes of an image that leave every object where it is, made by Pillow."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import get_track_meta
from monai.transforms import MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_numpy, convert_to_tensor
from PIL import Image, ImageEnhance, ImageFilter

from custom.errors import InputError

__all__ = ["RandEnhanced"]

OPERATIONS = {
    "contrast": lambda picture, amount: ImageEnhance.Contrast(picture).enhance(amount),
    "brightness": lambda picture, amount: ImageEnhance.Brightness(picture).enhance(amount),
    "sharpness": lambda picture, amount: ImageEnhance.Sharpness(picture).enhance(amount),
    "blur": lambda picture, amount: picture.filter(ImageFilter.GaussianBlur(amount)),
}


class RandEnhanced(RandomizableTransform, MapTransform):
    """Change contrast, brightness or sharpness of an image, or blur it, by a random amount.

    MONAI's `RandAdjustContrast` and `RandGaussianSharpen` are other operations, and its `RandGaussianSmooth` draws
    another width for each axis; these are Pillow's, which DiffRect uses. Like Pillow's images the changed ones have 256
    values per colour. All keys of an item get the same change.

    >>> import torch
    >>> from custom.transforms import RandEnhanced
    >>> blurred = RandEnhanced("image", "blur", low=0.1, high=2.0, prob=1.0).set_random_state(0)
    >>> blurred({"image": torch.rand(3, 32, 48)})["image"].shape
    torch.Size([3, 32, 48])

    Args:
        keys: keys of images [3, W, H] in [0, 1]; both stay.
        operation: "contrast", "brightness" or "sharpness", whose amount is a factor (1 changes nothing), or "blur",
            whose amount is the standard deviation of the Gaussian in pixels.
        low: smallest amount.
        high: largest amount; it is drawn uniformly.
        prob: probability of any change.
        allow_missing_keys: skip keys which an item lacks; else a `KeyError`.

    Raises:
        InputError: unknown operation.
    """

    def __init__(
        self,
        keys: KeysCollection,
        operation: str,
        low: float,
        high: float,
        prob: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        if operation not in OPERATIONS:
            raise InputError(f"RandEnhanced operation {operation!r}: choose one of {', '.join(OPERATIONS)}")
        self.operation = operation
        self.low, self.high = low, high

    def randomize(self, data: Any = None) -> None:
        """Draw whether to change, and the `amount`."""
        super().randomize(None)
        self.amount = self.R.uniform(self.low, self.high)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change all keys of `data` alike, or none."""
        self.randomize()
        changed = dict(data)
        for key in self.key_iterator(changed):
            image = changed[key] = convert_to_tensor(changed[key], track_meta=get_track_meta())
            if self._do_transform:
                changed[key] = convert_to_dst_type(self._apply(convert_to_numpy(image)), image)[0]
        return changed

    def _apply(self, image: np.ndarray) -> np.ndarray:
        """The changed image, [3, W, H] in [0, 1]. Pillow takes W for rows, which changes none of the operations."""
        picture = Image.fromarray(np.moveaxis((image.clip(0, 1) * 255).round().astype(np.uint8), 0, -1))
        return np.moveaxis(np.asarray(OPERATIONS[self.operation](picture, self.amount)), -1, 0) / 255
