"""Random changes of images and masks which MONAI lacks, as the SemiGDA release takes them from albumentations."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import get_track_meta
from monai.transforms import Affine, MapTransform, RandomizableTransform
from monai.utils import convert_to_dst_type, convert_to_numpy, convert_to_tensor
from skimage.color import hsv2rgb, rgb2hsv

__all__ = ["RandColourJitterd", "RandShiftScaleRotated", "jitter_colours"]

GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Share of red, green and blue in the brightness of a colour (ITU-R BT.601)."""


class RandShiftScaleRotated(RandomizableTransform, MapTransform):
    """Turn and scale about the centre, then shift: the same for the image and its label.

    Unlike `monai.transforms.RandAffined` it shifts by a fraction of each image's size, so that it can stand before
    resizing, and scales both axes alike. Angle, scale and both shifts are drawn uniformly.

    >>> import torch
    >>> from custom.transforms import RandShiftScaleRotated
    >>> item = {"image": torch.rand(3, 32, 48), "label": torch.zeros(1, 32, 48)}
    >>> changed = RandShiftScaleRotated(["image", "label"], prob=1.0).set_random_state(0)(item)
    >>> changed["image"].shape, changed["label"].shape
    (torch.Size([3, 32, 48]), torch.Size([1, 32, 48]))

    Args:
        keys: keys of tensors [C, W, H] of one size; shape and value range stay.
        prob: probability of any change.
        shift: largest shift along each axis, as a fraction of the image's size along it.
        scale: largest change of size; 0.1 draws a factor from [0.9, 1.1].
        rotate: largest angle, in degrees.
        mode: interpolation, one for all keys or one for each, in their order.
        padding_mode: what fills the outside. "reflection" repeats the edge pixel, which albumentations' reflect-101
            does not.
        allow_missing_keys: skip keys which an item lacks; else a `KeyError`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.4,
        shift: float = 0.15,
        scale: float = 0.1,
        rotate: float = 20.0,
        mode: Sequence[str] | str = ("bilinear", "nearest"),
        padding_mode: str = "reflection",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.shift, self.scale, self.rotate = shift, scale, rotate
        self.modes = (mode,) * len(self.keys) if isinstance(mode, str) else tuple(mode)
        if len(self.modes) < len(self.keys):
            raise ValueError(f"mode {mode} names fewer interpolations than there are keys {self.keys}")
        self.padding_mode = padding_mode

    def randomize(self, data: Any = None) -> None:
        """Draw whether to change, and the change: `angle` (radians), `zoom` (factor), `offset` (fractions of W, H)."""
        super().randomize(None)
        self.angle = np.deg2rad(self.R.uniform(-self.rotate, self.rotate))
        self.zoom = 1 + self.R.uniform(-self.scale, self.scale)
        self.offset = self.R.uniform(-self.shift, self.shift, size=2)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change all keys of `data` alike, or none."""
        self.randomize()
        changed = dict(data)
        for key, mode in self.key_iterator(changed, self.modes):
            changed[key] = self._apply(changed[key], mode) if self._do_transform else _as_tensor(changed[key])
        return changed

    def _apply(self, image: torch.Tensor, mode: str) -> torch.Tensor:
        # Affine takes the map from output to input, rotate @ translate @ scale: the inverse of shift @ zoom @ rotate.
        pixels = self.offset * image.shape[1:]
        affine = Affine(
            rotate_params=-self.angle,
            translate_params=(-pixels / self.zoom).tolist(),
            scale_params=[1 / self.zoom] * 2,
            mode=mode,
            padding_mode=self.padding_mode,
            image_only=True,
        )
        return affine(_as_tensor(image))


class RandColourJitterd(RandomizableTransform, MapTransform):
    """Change brightness, contrast, saturation and hue of colour images, as torchvision's ColorJitter does.

    The four are drawn uniformly and always applied in this order; all keys of an item get the same change.

    >>> import torch
    >>> from custom.transforms import RandColourJitterd
    >>> item = {"image": torch.rand(3, 32, 48)}
    >>> changed = RandColourJitterd("image", prob=1.0).set_random_state(0)(item)
    >>> bool((changed["image"] >= 0).all() and (changed["image"] <= 1).all())
    True

    Args:
        keys: keys of images [3, W, H] in [0, 1]; both stay.
        prob: probability of any change.
        brightness: largest change of the factor on the colours; 0.1 draws it from [0.9, 1.1].
        contrast: the same for the factor on the distance from the image's mean grey.
        saturation: the same for the factor on the distance from each pixel's grey.
        hue: largest turn on the colour circle, as a fraction of the circle.
        allow_missing_keys: skip keys which an item lacks; else a `KeyError`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.2,
        brightness: float = 0.1,
        contrast: float = 0.1,
        saturation: float = 0.1,
        hue: float = 0.1,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.ranges = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        self.hue = hue

    def randomize(self, data: Any = None) -> None:
        """Draw whether to change, and `change`, the arguments of `jitter_colours`."""
        super().randomize(None)
        self.change = {name: self.R.uniform(max(0, 1 - width), 1 + width) for name, width in self.ranges.items()}
        self.change["hue"] = self.R.uniform(-self.hue, self.hue)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Change the colours of all keys of `data` alike, or of none."""
        self.randomize()
        changed = dict(data)
        for key in self.key_iterator(changed):
            image = changed[key] = _as_tensor(changed[key])
            if self._do_transform:
                colours = jitter_colours(convert_to_numpy(image), **self.change)
                changed[key] = convert_to_dst_type(colours, image)[0]
        return changed


def jitter_colours(
    image: np.ndarray, brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0, hue: float = 0.0
) -> np.ndarray:
    """Scale brightness, contrast and saturation of `image` by factors and turn its hue, in this order.

    Args:
        image: float [3, W, H] in [0, 1].
        brightness: factor on the colours.
        contrast: factor on their distance from the mean grey of the image.
        saturation: factor on their distance from the grey of the pixel.
        hue: turn on the colour circle, as a fraction of the circle.

    Returns:
        float [3, W, H], clipped to [0, 1] after every step.
    """
    image = np.clip(image * brightness, 0, 1)
    mean_grey = _grey(image).mean()
    image = np.clip(mean_grey + contrast * (image - mean_grey), 0, 1)
    grey = _grey(image)
    image = np.clip(grey + saturation * (image - grey), 0, 1)
    if hue == 0 or (image == image[:1]).all():  # grey has no hue; the way to hue and back takes most of the time
        return image
    hsv = rgb2hsv(image, channel_axis=0)
    hsv[0] = (hsv[0] + hue) % 1
    return np.clip(hsv2rgb(hsv, channel_axis=0), 0, 1)


def _grey(image: np.ndarray) -> np.ndarray:
    return np.tensordot(GREY_WEIGHTS, image, axes=1)


def _as_tensor(image: Any) -> torch.Tensor:
    return convert_to_tensor(image, track_meta=get_track_meta())
