"""Masks of slides, region by region."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import torch
from monai.networks import eval_mode
from torch import Tensor, nn

from custom.slides.reading import Slide
from custom.slides.resampling import Taps, bilinear, nearest, resample
from custom.slides.scale import doubt, view_of
from custom.slides.strips import WindowInferer, soft_strips
from custom.slides.view import SlideView
from custom.slides.writing import TILE, TiledPicture
from custom.transforms.branches import SplitBranchesd
from custom.transforms.loading import LoadImageAndLabeld

__all__ = ["SlidePredictor"]

logger = logging.getLogger(__name__)


class _Table(Protocol):
    def add(self, row: Mapping[str, Any]) -> None: ...


class SlidePredictor:
    """Predict slides: what an evaluator does with pictures, with a strip of the slide in memory at a time.

    A slide gets `masks/NAME.tif` of its own size, a pyramid of tiles with class indices and the slide's microns per
    pixel; and a row of the table.

    Args:
        data: items {"image": path}.
        network: the network, on `device`.
        inferer: predicts windows of the network's square.
        load: how pictures are loaded; its bit depth and order of colours are the slides' too.
        output_dir: the folder of results.
        table: gets the rows.
        source_side: see `ResizeSlicesd`.
        windows_above: likewise.
        microns_per_pixel: see `view_of`.
        maps: which of "probability" and "disagreement" are written too, with values times 255.
        device: where the network is.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, str]],
        network: nn.Module,
        inferer: WindowInferer,
        load: LoadImageAndLabeld,
        output_dir: str | os.PathLike[str],
        table: _Table,
        source_side: float | None = None,
        windows_above: int | None = None,
        microns_per_pixel: float | None = None,
        maps: Mapping[str, bool] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.data = data
        self.network = network
        self.inferer = inferer
        self.load = load
        self.output_dir = Path(output_dir)
        self.table = table
        self.scale = (source_side, windows_above, microns_per_pixel)
        self.maps = [name for name, wanted in (maps or {}).items() if wanted]
        self.device = device
        hard = getattr(network, "hard_labels", False)
        self.split = SplitBranchesd("pred", network.num_classes, hard)
        self.taps = nearest if hard else bilinear

    def __len__(self) -> int:
        return len(self.data)

    def check(self) -> None:
        """Open each slide and read its first pixels; what is doubtful about its scale is a logged warning.

        Raises:
            InputError: one cannot be read, or the model cannot predict it. The message names it.
        """
        for item in self.data:
            with Slide(item["image"], self.load.bit_depth) as slide:
                self._view(slide).read(0, 0, 1, 1)
                if text := doubt(slide, self.scale[0], self.scale[2]):
                    logger.warning("%s", text)

    def run(self) -> None:
        """Predict all.

        Raises:
            InputError: a slide cannot be read.
            OSError: a file cannot be written.
        """
        with eval_mode(self.network):
            for item in self.data:
                with Slide(item["image"], self.load.bit_depth) as slide:
                    self._predict(slide)

    def _view(self, slide: Slide) -> SlideView:
        return view_of(slide, self.inferer.window, *self.scale, bgr=self.load.bgr)

    def _predict(self, slide: Slide) -> None:
        sums: dict[str, float] = {"foreground": 0.0, "disagreement": 0.0, "uncertainty": 0.0}
        with ExitStack() as stack:
            pictures = {}
            for name in ("masks", *self.maps):
                folder = self.output_dir / name
                folder.mkdir(parents=True, exist_ok=True)
                pictures[name] = stack.enter_context(TiledPicture(slide.size, folder))
            for soft in self._tiles(slide):
                item = self.split({"pred": soft})
                mask = item["pred"][0].round().to(torch.uint8)
                pictures["masks"].add(mask.numpy())
                for name in self.maps:
                    pictures[name].add((item[name][0] * 255).round().to(torch.uint8).numpy())
                sums["foreground"] += float((mask > 0).sum())
                sums["disagreement"] += float(item["disagreement"].sum(dtype=torch.float64))
                sums["uncertainty"] += float((1 - (2 * item["probability"] - 1).abs()).sum(dtype=torch.float64))
            for name, picture in pictures.items():
                picture.save(self.output_dir / name / f"{Path(slide.path).stem}.tif", slide.microns)
        self.table.add(self._row(slide, sums))

    def _row(self, slide: Slide, sums: Mapping[str, float]) -> dict[str, Any]:
        width, height = slide.size
        shares = {name: f"{value / (width * height):.6f}" for name, value in sums.items()}
        return {
            "image": str(slide.path),
            "width": width,
            "height": height,
            "slices": 1,
            "foreground_share": shares["foreground"],
            "disagreement": shares["disagreement"],
            "uncertainty": shares["uncertainty"],
        }

    def _tiles(self, slide: Slide) -> Iterator[Tensor]:
        """Soft labels [branches, h, w] of the tiles of a slide, in the order of reading."""
        view = self._view(slide)
        (width, height), (own_width, own_height) = slide.size, view.size
        columns = [self._taps(left, width, own_width) for left in range(0, width, TILE)]
        strips = soft_strips(view, self.network, self.inferer, self.device, Path(slide.path).name)
        rows_there, first = next(strips), 0
        for top in range(0, height, TILE):
            rows = self._taps(top, height, own_height)
            start, stop = rows.span
            while first + rows_there.shape[1] < stop:
                rows_there = torch.cat([rows_there, next(strips)], dim=1)
            rows_there, first = rows_there[:, start - first :], start
            for taps in columns:
                left, right = taps.span
                yield resample(rows_there[:, :, left:right], first, left, rows, taps)

    def _taps(self, start: int, length: int, own_length: int) -> Taps:
        return self.taps(start, min(start + TILE, length), own_length / length, own_length)
