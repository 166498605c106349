"""Small parts that several networks share."""

from __future__ import annotations

from ignite.utils import manual_seed
from monai.networks.blocks import Convolution
from torch import Tensor, nn

__all__ = ["ConvolutionBlock", "group_count", "start_from_seed"]


def group_count(channels: int, maximum: int) -> int:
    """The largest number of normalisation groups up to `maximum` that divides `channels`."""
    return next(groups for groups in range(maximum, 0, -1) if channels % groups == 0)


def start_from_seed(seed: int | None) -> None:
    """Seed Python's, NumPy's and PyTorch's random numbers, before initial weights are drawn; None leaves them alone."""
    if seed is not None:
        manual_seed(seed)


class ConvolutionBlock(nn.Module):
    """Two 3x3 convolutions, each with batch normalisation and LeakyReLU, and dropout between them.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        dropout: dropout probability.
        time_channels: channels of a time embedding that is added after the first convolution; None for none.
    """

    def __init__(
        self, in_channels: int, out_channels: int, dropout: float = 0.0, time_channels: int | None = None
    ) -> None:
        super().__init__()
        activation = ("leakyrelu", {"negative_slope": 0.01})
        self.first = Convolution(2, in_channels, out_channels, adn_ordering="NA", norm="batch", act=activation)
        self.time = None if time_channels is None else nn.Sequential(nn.SiLU(), nn.Linear(time_channels, out_channels))
        self.dropout = nn.Dropout(dropout)
        self.second = Convolution(2, out_channels, out_channels, adn_ordering="NA", norm="batch", act=activation)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Features [B, in, H, W] and a time embedding [B or 1, time_channels] -> [B, out, H, W]."""
        x = self.first(x)
        if self.time is not None:
            x = x + self.time(time)[:, :, None, None]
        return self.second(self.dropout(x))
