"""The trainable convolutional encoder of the Mask branch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["TrainableEncoder", "moment_head"]


def moment_head(in_channels: int, moment_channels: int, dropout: float) -> nn.Sequential:
    """What makes moments [B, moment_channels, h, w] of features [B, in_channels, h, w]."""
    return nn.Sequential(
        nn.Conv2d(in_channels, moment_channels, 3, padding=1),
        nn.BatchNorm2d(moment_channels),
        nn.LeakyReLU(0.01),
        nn.Dropout(dropout),
        nn.Conv2d(moment_channels, moment_channels, 3, padding=1),
        nn.BatchNorm2d(moment_channels),
        nn.LeakyReLU(0.01),
    )


class BasicBlock(nn.Module):
    """Residual block of two 3x3 convolutions, [B, in, H, W] -> [B, out, H / stride, W / stride]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Residual plus shortcut, then ReLU."""
        return self.activation(self.residual(x) + self.shortcut(x))


class TrainableEncoder(nn.Module):
    """A residual CNN from images to latent moments, with one skip feature map for each resolution.

    The paper names it "ResNet", the released code "resnet34": it is a wide net of (3, 4, 6) basic blocks without
    max-pooling, without a fourth stage and without pretrained weights, as built here. With widths (128, 256, 512, 512)
    and 8 moments it has 49,743,728 parameters.

    >>> import torch
    >>> from custom.networks import TrainableEncoder
    >>> moments, skips = TrainableEncoder((8, 16, 16), moment_channels=8)(torch.rand(2, 3, 32, 32))
    >>> moments.shape, [skip.shape[-1] for skip in skips]
    (torch.Size([2, 8, 8, 8]), [32, 16, 8])

    Args:
        widths: channels of each resolution, the finest first. Three or more further resolutions repeat the last depth.
        moment_channels: channels of the output, twice the number of latent channels.
        dropout: dropout probability between the two convolutions of the head.
    """

    DEPTHS = (3, 4, 6)

    def __init__(self, widths: Sequence[int], moment_channels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, padding=1), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        self.stages = nn.ModuleList()
        for level in range(1, len(widths)):
            depth = self.DEPTHS[min(level, len(self.DEPTHS)) - 1]
            first = BasicBlock(widths[level - 1], widths[level], stride=2)
            rest = [BasicBlock(widths[level], widths[level]) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(first, *rest))
        self.head = moment_head(widths[-1], moment_channels, dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """RGB images in [-1, 1], [B, 3, H, W] -> moments [B, moment_channels, h, w] and the skips, the finest first."""
        skips = [self.stem(images)]
        for stage in self.stages:
            skips.append(stage(skips[-1]))
        return self.head(skips[-1]), skips
