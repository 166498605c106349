"""Prediction in overlapping windows, of which only a strip as high as a window is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from torch import Tensor, nn
from tqdm import tqdm

from custom.slides.view import SlideView

__all__ = ["WindowInferer", "soft_strips"]


class WindowInferer(Protocol):
    """What predicts windows: see `custom.inferers.BranchInferer`."""

    window: int
    overlap: float
    windows_at_once: int

    def to_blend(self, windows: Tensor, network: nn.Module) -> Tensor:
        """What is averaged where windows overlap."""

    def from_blend(self, blended: Tensor, network: nn.Module) -> Tensor:
        """Soft labels of such means."""


def soft_strips(
    view: SlideView, network: nn.Module, inferer: WindowInferer, device: torch.device | str, title: str = ""
) -> Iterator[Tensor]:
    """Soft labels [branches, rows, width] of a slide from top to bottom, some rows at a time.

    The windows, and their weights where they overlap, are those of MONAI's `sliding_window_inference`, which needs the
    whole picture in memory; so do its mergers, or a float32 copy of the slide on the disk.

    Args:
        view: the slide, at least as large as a window.
        network: the network, ready for inference.
        inferer: predicts windows.
        device: where the network is.
        title: for the progress bar.
    """
    side, (width, height) = inferer.window, view.size
    tops, lefts = (_starts(length, side, inferer.overlap) for length in (height, width))
    weight = compute_importance_map((side, side), mode="gaussian")
    total, weights = None, torch.zeros(1, side, width)
    for number, top in enumerate(tqdm(tops, title, unit="row of windows", disable=None)):
        for first in range(0, len(lefts), inferer.windows_at_once):
            group = lefts[first : first + inferer.windows_at_once]
            region = view.read(group[0], top, group[-1] + side - group[0], side)
            windows = torch.stack([region[:, :, left - group[0] :][:, :, :side] for left in group])
            # the loader of pictures gives them with their width first, so networks see them that way
            blend = inferer.to_blend(windows.transpose(2, 3).contiguous().to(device), network).transpose(2, 3).cpu()
            total = torch.zeros(blend.shape[1], side, width) if total is None else total
            for left, values in zip(group, blend, strict=True):
                total[:, :, left : left + side] += values * weight
                weights[:, :, left : left + side] += weight
        done = (tops[number + 1] if number + 1 < len(tops) else height) - top
        yield inferer.from_blend((total[:, :done] / weights[:, :done])[None], network)[0]
        total, weights = _moved_up(total, done), _moved_up(weights, done)


def _starts(length: int, side: int, overlap: float) -> list[int]:
    """Where windows begin along an axis."""
    interval = side if length == side else max(1, int(side * (1 - overlap)))
    return [int(window.start) for (window,) in dense_patch_slices((length,), (side,), (interval,))]


def _moved_up(values: Tensor, rows: int) -> Tensor:
    """Without the first rows, and as many empty ones at the end."""
    values = torch.roll(values, -rows, dims=1)
    values[:, values.shape[1] - rows :] = 0
    return values
