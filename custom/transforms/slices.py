"""Volumes as slices: turned as they are shown, each resized; pictures pass or are resized like any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data.utils import orientation_ras_lps
from monai.transforms import Orientation, Orientationd, Resize, Resized
from monai.transforms.spatial.functional import orientation, resize
from monai.utils import SpaceKeys
from nibabel import orientations
from torch import Tensor

from custom.volumes import display_axcodes

__all__ = ["ResizeSlicesd", "SliceOrientationd", "grid_size"]

_DIRECTIONS = (("L", "R"), ("P", "A"), ("I", "S"))  # MONAI's own, said to spare its warning


class SliceOrientationd(Orientationd):
    """Turn volumes [C, I, J, K] as their slices are shown, see `custom.volumes.display_axcodes`; pictures pass.

    It can be inverted.

    >>> import torch
    >>> from monai.data import MetaTensor
    >>> from custom.transforms import SliceOrientationd
    >>> volume = MetaTensor(torch.arange(4.0).reshape(1, 2, 2, 1), affine=torch.eye(4))  # RAS
    >>> turn = SliceOrientationd("image")
    >>> turned = turn({"image": volume})
    >>> turned["image"].flatten().tolist(), turn.inverse(turned)["image"].flatten().tolist()
    ([3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0])

    Args:
        keys: keys of `MetaTensor`s, [C, W, H] or [C, I, J, K].
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys, axcodes="LPS", labels=_DIRECTIONS)
        self.ornt_transform = _SliceOrientation(axcodes="LPS", labels=_DIRECTIONS)  # of each volume its own


class _SliceOrientation(Orientation):
    def __call__(self, data_array: Tensor, lazy: bool | None = None) -> Tensor:
        if data_array.ndim != 4:
            return data_array
        affine = data_array.affine.numpy()
        if data_array.meta.get("space") == SpaceKeys.LPS:
            affine = orientation_ras_lps(affine)
        wanted = orientations.axcodes2ornt(display_axcodes(affine))
        turned = orientations.ornt_transform(orientations.io_orientation(affine), wanted)
        return orientation(data_array, affine, turned, lazy=False, transform_info=self.get_transform_info())

    def inverse(self, data: Tensor) -> Tensor:
        return super().inverse(data) if data.ndim == 4 else data


class ResizeSlicesd(Resized):
    """Resize pictures [C, W, H] and each slice of volumes [C, W, H, K]; it can be inverted.

    A picture much larger than those of the training, with pixels of the same physical size, is scaled as those were:
    its parts then look as the network knows them, and `BranchInferer` predicts it in windows.

    >>> import torch
    >>> from custom.transforms import ResizeSlicesd
    >>> resized = ResizeSlicesd("image", [8, 8])({"image": torch.rand(1, 16, 12, 5)})
    >>> tuple(resized["image"].shape)
    (1, 8, 8, 5)

    Args:
        keys: keys of the images.
        spatial_size: (W, H) that each slice gets.
        source_side: side in pixels of the pictures of the training, whose physical size is that of all pictures, as in
            microscopy; None where pictures of any size show the same, such as photographs.
        windows_above: longer side in pixels above which pictures that are also more than twice as large as
            `source_side` are scaled; None for none.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spatial_size: Sequence[int],
        source_side: float | None = None,
        windows_above: int | None = None,
    ) -> None:
        super().__init__(keys, spatial_size, mode="bilinear")
        self.resizer = _ResizeSlices(spatial_size, source_side, windows_above)


def grid_size(
    size: tuple[float, float],
    spatial_size: Sequence[int],
    source_side: float | None = None,
    windows_above: int | None = None,
) -> tuple[int, int]:
    """(W, H) that `ResizeSlicesd` gives a picture.

    >>> from custom.transforms import grid_size
    >>> grid_size((4000, 3000), [224, 224]), grid_size((4000, 3000), [224, 224], source_side=448, windows_above=2048)
    ((224, 224), (2000, 1500))

    Args:
        size: (W, H) of the picture, in pixels of the training's images.
        spatial_size: see `ResizeSlicesd`.
        source_side: likewise.
        windows_above: likewise.
    """
    known = source_side is not None and windows_above is not None
    if not known or max(size) <= max(windows_above, 2 * source_side):
        return tuple(spatial_size)
    scales = [length / source_side for length in spatial_size]
    own = zip(size, scales, spatial_size, strict=True)
    return tuple(max(round(length * scale), least) for length, scale, least in own)


class _ResizeSlices(Resize):
    def __init__(self, spatial_size: Sequence[int], source_side: float | None, windows_above: int | None) -> None:
        super().__init__(spatial_size, mode="bilinear")
        self.source_side, self.windows_above = source_side, windows_above

    def __call__(self, img: Tensor, *options: Any, **named: Any) -> Tensor:
        if img.ndim != 4:
            size = grid_size(tuple(img.shape[1:]), self.spatial_size, self.source_side, self.windows_above)
            if size == tuple(self.spatial_size):
                return super().__call__(img, *options, **named)
            return resize(
                img, size, "bilinear", None, torch.float32, 2, False, None, lazy=False,
                transform_info=self.get_transform_info(),
            )  # fmt: skip
        size = (*self.spatial_size, img.shape[3])  # linear between slices changes nothing where their number stays
        return resize(
            img,
            size,
            "trilinear",
            None,
            torch.float32,
            3,
            False,
            None,
            lazy=False,
            transform_info=self.get_transform_info(),
        )
