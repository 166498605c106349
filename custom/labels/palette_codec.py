"""Labels as images of one colour per class, for classes without an order, and images back to memberships."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from custom.errors import InputError
from custom.labels.codec import LabelCodec
from custom.labels.colours import colour_labels, distant_palette
from custom.labels.ignored import clear_ignored

__all__ = ["PaletteCodec", "make_label_codec"]

SHARPNESS = 6
"""Smallest squared distance of two colours over the temperature of the memberships."""


class PaletteCodec(nn.Module):
    """Class indices 0..K-1 as colours far apart, and the way back as one membership per class and pixel.

    Not part of SemiGDA, whose paper and code have two classes. Forward: the colours c_k of `distant_palette`, in
    [-1, 1]. Reverse: m_k = softmax_k(-|y - c_k|^2 / T), with T a sixth of the smallest squared distance d^2 of two
    colours. At its own colour a class then has a membership of 0.98 or more for any K, and halfway between two colours
    both have the same. Unlike grey levels, no class lies between two others: up to four classes, a blend of two colours
    never comes nearest to a third one.

    >>> import torch
    >>> from custom.labels import PaletteCodec
    >>> codec = PaletteCodec(num_classes=3)
    >>> labels = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 1, 1, 3)
    >>> images = codec.encode(labels)
    >>> images[0, :, 0].T.tolist()
    [[-1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [1.0, -1.0, 1.0]]
    >>> codec.decode(images).shape, torch.equal(codec.decode(images).argmax(dim=1, keepdim=True), labels)
    (torch.Size([1, 3, 1, 3]), True)

    Args:
        num_classes: K, with the background.

    Attributes:
        palette: c_k, [K, 3] in [-1, 1]; it moves with the network that holds the codec and is in no state.
        temperature: T.

    Raises:
        InputError: fewer than two classes.
    """

    palette: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes < 2:
            raise InputError(f"num_classes is {num_classes}: it counts the background, so it must be at least 2")
        self.num_classes = num_classes
        with torch.device("cpu"):  # the temperature is a number also where a network is only sketched
            palette = 2 * distant_palette(num_classes) - 1
            self.temperature = torch.nn.functional.pdist(palette).amin().item() ** 2 / SHARPNESS
        self.register_buffer("palette", palette, persistent=False)

    def encode(self, labels: Tensor) -> Tensor:
        """Class indices [B, 1, H, W] -> images [B, 3, H, W] in [-1, 1]; ignored pixels look like background."""
        return colour_labels(clear_ignored(labels, labels), self.palette)

    def decode(self, images: Tensor) -> Tensor:
        """Decoder output [B, 3, H, W], unbounded -> memberships [B, K, H, W] that sum to one."""
        return self.logits(images).softmax(dim=1)

    def logits(self, images: Tensor) -> Tensor:
        """Decoder output [B, 3, H, W], unbounded -> logits [B, K, H, W] whose softmax is `decode`.

        |y|^2 is the same for all classes, so that the softmax is that of (2 y c_k - |c_k|^2) / T. It is computed
        channel by channel: a product of matrices would be rounded under autocast.
        """
        colours = self.palette.T[:, :, None, None]  # [3, K, 1, 1]
        red, green, blue = images.split(1, dim=1)
        product = red * colours[0] + green * colours[1] + blue * colours[2]
        return (2 * product - colours.square().sum(dim=0)) / self.temperature


def make_label_codec(label_code: str = "ordinal", num_classes: int = 2, **arguments: Any) -> LabelCodec | PaletteCodec:
    """The codec of a code; two classes are black and white in both, and then have the codec of "ordinal".

    >>> from custom.labels import make_label_codec
    >>> type(make_label_codec("palette", 3)).__name__, type(make_label_codec("palette", 2)).__name__
    ('PaletteCodec', 'LabelCodec')

    Args:
        label_code: "ordinal" for grey levels, see `LabelCodec`, or "palette" for colours, see `PaletteCodec`.
        num_classes: K, with the background.
        arguments: further arguments of `LabelCodec`.

    Raises:
        InputError: an argument is out of range, or "palette" has settings of the grey levels.
    """
    if label_code not in ("ordinal", "palette"):
        raise InputError(f"label_code {label_code!r}: choose 'ordinal' or 'palette'")
    grey_levels = LabelCodec(num_classes, **arguments)
    if label_code == "ordinal":
        return grey_levels
    if not grey_levels.signed or grey_levels.top == num_classes:
        raise InputError(
            "label_code 'palette' needs label_divisor 'K-1' and label_range 'signed', which are about grey"
        )
    return grey_levels if num_classes == 2 else PaletteCodec(num_classes)
