"""Encoders of the U-Net family, by name: what turns images into features of several resolutions.

A new encoder is a module with `widths`, the channels of its features, the finest resolution first, and a `forward` from
images [B, C, H, W] to these features. It gets a line in `ENCODERS`, and everything else follows from its widths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from custom.errors import InputError
from custom.networks.blocks import ConvolutionBlock
from custom.wording import did_you_mean

__all__ = ["DROPOUT", "ENCODERS", "WIDTHS", "UNetEncoder", "build_encoder"]

WIDTHS = (16, 32, 64, 128, 256)
DROPOUT = (0.05, 0.1, 0.2, 0.3, 0.5)


class UNetEncoder(nn.Module):
    """Convolution blocks with max-pooling between them.

    Args:
        in_channels: channels of the input.
        widths: channels of each resolution, the finest first.
        dropout: dropout probability of each resolution.
        time_channels: see `ConvolutionBlock`.

    Attributes:
        widths: as given.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int] = WIDTHS,
        dropout: Sequence[float] = DROPOUT,
        time_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        inputs = (in_channels, *widths[:-1])
        self.blocks = nn.ModuleList(
            ConvolutionBlock(*sizes, time_channels) for sizes in zip(inputs, widths, dropout, strict=True)
        )
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: Tensor, time: Tensor | None = None, added: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Input [B, C, H, W] -> features of each resolution, the finest first.

        Args:
            x: the input.
            time: time embedding, see `ConvolutionBlock`.
            added: a tensor for each resolution, added to its features before they continue to the next.
        """
        features: list[Tensor] = []
        for level, block in enumerate(self.blocks):
            x = block(self.pool(x) if level else x, time)
            if added is not None:
                x = x + added[level]
            features.append(x)
        return features


ENCODERS: dict[str, Callable[..., nn.Module]] = {"none": UNetEncoder}
"""Encoders by name. "none" is the U-Net's own, from random weights."""


def build_encoder(
    name: str, in_channels: int, widths: Sequence[int] = WIDTHS, dropout: Sequence[float] = DROPOUT
) -> nn.Module:
    """The encoder of that name.

    >>> from custom.networks import build_encoder
    >>> build_encoder("none", in_channels=3).widths
    (16, 32, 64, 128, 256)

    Args:
        name: a key of `ENCODERS`.
        in_channels: channels of the images.
        widths: channels of each resolution, the finest first.
        dropout: dropout probability of each resolution.

    Raises:
        InputError: no encoder has that name.
    """
    if str(name) not in ENCODERS:
        hint = did_you_mean(str(name), ENCODERS)
        raise InputError(f"encoder {str(name)[:80]!r}: choose {' or '.join(map(repr, ENCODERS))}{hint}")
    return ENCODERS[name](in_channels, widths, dropout)
