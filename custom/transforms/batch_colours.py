"""Other colours for a batch of images where it is, for methods that need several views in one step."""

from __future__ import annotations

import torch
from torch import Tensor

from custom.transforms.augmentation import GREY_WEIGHTS

__all__ = ["BatchColourJitter", "change_colours"]


class BatchColourJitter:
    """`RandColourJitterd` for images [B, 3, H, W] on any device; each image gets a change of its own.

    >>> import torch
    >>> from custom.transforms import BatchColourJitter
    >>> images = torch.rand(2, 3, 32, 48)
    >>> changed = BatchColourJitter()(images)
    >>> changed.shape, bool((changed >= 0).all() and (changed <= 1).all())
    (torch.Size([2, 3, 32, 48]), True)
    >>> torch.equal(BatchColourJitter()(images, probability=0.0), images)
    True

    Args:
        brightness, contrast, saturation, hue: largest changes, see `RandColourJitterd`.
    """

    def __init__(
        self, brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4, hue: float = 0.1
    ) -> None:
        self.widths = (brightness, contrast, saturation)
        self.hue = hue

    def __call__(self, images: Tensor, probability: float = 1.0) -> Tensor:
        """Images in [0, 1], [B, 3, H, W] -> the same, each changed with that probability."""
        factors = [torch.empty(len(images)).uniform_(max(0.0, 1 - width), 1 + width) for width in self.widths]
        hue = torch.empty(len(images)).uniform_(-self.hue, self.hue)
        chosen = (torch.rand(len(images)) < probability).to(images.device)
        changed = change_colours(images, *(values.to(images.device) for values in (*factors, hue)))
        return torch.where(chosen[:, None, None, None], changed, images)


def change_colours(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """`jitter_colours` of each image: factors, and a turn of the hue as a fraction of the colour circle, each [B].

    Args:
        images: float [B, 3, H, W] in [0, 1].
        brightness, contrast, saturation, hue: see `jitter_colours`.

    Returns:
        Float [B, 3, H, W], clipped to [0, 1] after every step.
    """
    brightness, contrast, saturation, hue = (
        values[:, None, None, None] for values in (brightness, contrast, saturation, hue)
    )
    weights = torch.from_numpy(GREY_WEIGHTS).to(images)[:, None, None]
    images = (images * brightness).clamp(0, 1)
    mean_grey = (images * weights).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)
    images = (mean_grey + contrast * (images - mean_grey)).clamp(0, 1)
    grey = (images * weights).sum(dim=1, keepdim=True)
    images = (grey + saturation * (images - grey)).clamp(0, 1)
    return _turn_hue(images, hue)


def _turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """To hue, value and chroma of the HSV model, and back with another hue; greys stay as they are."""
    red, green, blue = images.unbind(dim=1)
    value, brightest = images.max(dim=1)
    chroma = value - images.amin(dim=1)
    divisor = torch.where(chroma > 0, chroma, 1)
    sixths = torch.stack([(green - blue) / divisor, 2 + (blue - red) / divisor, 4 + (red - green) / divisor], dim=1)
    hue = sixths.gather(1, brightest[:, None]) + 6 * turn
    distance = (torch.tensor([5, 3, 1], device=images.device)[:, None, None] + hue) % 6
    return (value[:, None] - chroma[:, None] * torch.minimum(distance, 4 - distance).clamp(0, 1)).clamp(0, 1)
