"""The networks of MagicNet: a mean teacher whose student also sees images cut into cells (Chen et al., CVPR 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from custom.errors import InputError
from custom.networks.encoders import UNetEncoder
from custom.networks.training_networks import MeanTeacher
from custom.networks.unet import UNet

__all__ = ["MagicNetworks", "from_cells", "shuffle_cells", "to_cells"]

LEAST_CELL = {"none": 16, "pretrained": 32}  # what the coarsest features of an encoder are made of
FINEST_STRIDE = 4  # of all encoders: what an embedding has of the image's side at least
LOCATION_GRID = 3


def to_cells(values: Tensor, cells: int) -> Tensor:
    """[B, C, cells h, cells w] -> [B, cells^2, C, h, w], row by row."""
    parts = values.unflatten(3, (cells, -1)).unflatten(2, (cells, -1))  # [B, C, cells, h, cells, w]
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def from_cells(parts: Tensor, cells: int) -> Tensor:
    """The inverse of `to_cells`."""
    return parts.unflatten(1, (cells, cells)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def shuffle_cells(parts: Tensor, order: Tensor) -> Tensor:
    """Cells [B, N, C, h, w] of which each keeps its place n and goes to another image: b gets that of order[n, b].

    Args:
        parts: see `to_cells`.
        order: for each of the N places a permutation of the B images, [N, B]; `order.argsort(dim=1)` is the way back.
    """
    return parts[order.T, torch.arange(len(order), device=order.device)]


class MagicNetworks(MeanTeacher):
    """A U-Net and its teacher, see `MeanTeacher`; and a head that tells where in the image a cell is from.

    Images are cut into cells x cells equal rectangles. The head takes the bottleneck of a single cell, as means over
    3 x 3 parts of it so that it fits any size of images: 3 x 3 positions are what the U-Net has of a cell of 56 pixels.
    Images whose sides are no multiples of 4 cells are continued by their last row and column.

    >>> import torch
    >>> from custom.networks import MagicNetworks, UNet
    >>> networks = MagicNetworks(UNet(num_classes=3, seed=0), cells=2)
    >>> logits, locations = networks.cell_logits(torch.rand(2, 3, 64, 48))
    >>> logits.shape, locations.shape
    (torch.Size([2, 3, 64, 48]), torch.Size([8, 4]))

    Args:
        student: the network that is trained and predicts; with further decoders, the first one is used.
        cells: cells along each side; 3 in the release.
        location_width: channels of the head's hidden layer; 4096 in the release.
        decay, warm_up: see `MeanTeacher`.

    Raises:
        InputError: fewer than two cells along a side.
    """

    def __init__(
        self, student: UNet, cells: int = 4, location_width: int = 512, decay: float = 0.99, warm_up: bool = True
    ) -> None:
        if cells < 2:
            raise InputError(f"cells {cells}: give 2 or more along each side of an image")
        super().__init__(student, decay, warm_up)
        self.cells = cells
        self.location = nn.Sequential(
            nn.AdaptiveAvgPool2d(LOCATION_GRID),
            nn.Flatten(),
            nn.Linear(student.encoder.widths[-1] * LOCATION_GRID**2, location_width),
            nn.BatchNorm1d(location_width),
            nn.LeakyReLU(0.2),
            nn.Linear(location_width, cells**2),
        )

    def mixed_logits(self, images: Tensor, order: Tensor) -> Tensor:
        """The student's logits [B, K, H, W], from features of mixed images.

        Args:
            images: in [0, 1], [B, C, H, W].
            order: how cells are mixed, [cells^2, B], see `shuffle_cells`; the features of the cells are moved back.
        """
        mixed = from_cells(shuffle_cells(self._cut(images), order), self.cells)
        features = self.student.decoders[0](self.student.encoder(mixed))[-1]
        back = shuffle_cells(to_cells(features, self.cells), order.argsort(dim=1))
        return self._scores(from_cells(back, self.cells), images)

    def cell_logits(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [0, 1], [B, C, H, W], each cell of which the student sees by itself.

        Returns:
            Logits [B, K, H, W] from the features of all cells put together, and logits [B cells^2, cells^2] of where
            each cell is from: the first image's cells first, row by row.
        """
        levels = self.student.encoder(self._cut(images).flatten(0, 1))
        locations = self.location(levels[-1])
        features = self.student.decoders[0](levels)[-1].unflatten(0, (len(images), -1))
        return self._scores(from_cells(features, self.cells), images), locations

    def _cut(self, images: Tensor) -> Tensor:
        """The cells of the images, continued to a size that can be cut, [B, cells^2, C, h, w]."""
        height, width = images.shape[-2:]
        step = FINEST_STRIDE * self.cells
        whole = pad(images, (0, -width % step, 0, -height % step), mode="replicate")
        side = min(whole.shape[-2:]) // self.cells
        least = LEAST_CELL["none" if isinstance(self.student.encoder, UNetEncoder) else "pretrained"]
        if side < least:
            raise InputError(
                f"cells {self.cells}: of {height} x {width} pixels they have {side} along a side; give fewer of them, "
                f"or a larger image_size, so that it is {least} or more"
            )
        return to_cells(whole, self.cells)

    def _scores(self, features: Tensor, images: Tensor) -> Tensor:
        """Features of the continued images -> logits [B, K, H, W] of the images."""
        logits, step = self.student.heads[0](features), FINEST_STRIDE * self.cells
        height, width = images.shape[-2:]
        size = (height + -height % step, width + -width % step)
        if logits.shape[-2:] != size:
            logits = interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return logits[..., :height, :width]
