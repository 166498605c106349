"""Pictures too large for memory, written tile by tile as a TIFF that viewers of slides read."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffWriter

from custom.files import whole_file
from custom.version import __version__

__all__ = ["TILE", "TiledPicture"]

TILE = 512
"""Side of a tile in pixels."""

_SHRINKING = 4
"""How much smaller each level of the pyramid is than the one before."""
_SMALLEST = 1024


class TiledPicture:
    """An 8-bit picture of one channel, given tile by tile in the order of reading and written as a pyramid of tiles.

    Only a row of tiles is in memory; packed tiles wait in a temporary file. Smaller levels hold every fourth pixel of
    the level before, so that they hold no values which the picture does not hold.

    >>> import tempfile
    >>> import numpy as np
    >>> from tifffile import imread
    >>> from custom.slides import TiledPicture
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with TiledPicture((600, 30), folder) as picture:
    ...         picture.add(np.full((30, 512), 1, np.uint8))
    ...         picture.add(np.full((30, 88), 2, np.uint8))
    ...         picture.save(f"{folder}/mask.tif")
    ...     mask = imread(f"{folder}/mask.tif")
    >>> mask.shape, mask[0, [0, 511, 512]].tolist()
    ((30, 600), [1, 1, 2])

    Args:
        size: (width, height) in pixels.
        folder: where the temporary file goes; it exists.
    """

    def __init__(self, size: tuple[int, int], folder: str | os.PathLike[str]) -> None:
        self.size = size
        self._folder = Path(folder)
        self._packed = TemporaryFile(dir=folder)  # noqa: SIM115 (closed by `__exit__`)
        self._lengths: list[int] = []
        self._columns = -(-size[0] // TILE)
        smaller = tuple(-(-side // _SHRINKING) for side in size)
        self._smaller = TiledPicture(smaller, folder) if max(size) > _SMALLEST else None
        self._strip: list[NDArray[np.uint8]] = []  # rows of the smaller level that are no whole tiles yet
        self._row: list[NDArray[np.uint8]] = []

    def __enter__(self) -> TiledPicture:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._packed.close()
        if self._smaller is not None:
            self._smaller.__exit__(kind, error, trace)

    def add(self, tile: NDArray[np.uint8]) -> None:
        """Add the next tile [height, width]: `TILE` pixels a side, or what is left at the edges."""
        whole = np.zeros((TILE, TILE), np.uint8)
        whole[: tile.shape[0], : tile.shape[1]] = tile
        packed = zlib.compress(whole.tobytes())
        self._packed.write(packed)
        self._lengths.append(len(packed))
        if self._smaller is not None:
            self._row.append(tile[::_SHRINKING, ::_SHRINKING])
            if len(self._row) == self._columns:
                self._shrink()

    def _shrink(self) -> None:
        """Give the smaller level what a whole row of its tiles needs, once it is there."""
        self._strip.append(np.concatenate(self._row, axis=1))
        self._row = []
        is_last = len(self._lengths) == self._columns * -(-self.size[1] // TILE)
        if len(self._strip) == _SHRINKING or is_last:
            strip = np.concatenate(self._strip)
            self._strip = []
            for left in range(0, strip.shape[1], TILE):
                self._smaller.add(strip[:, left : left + TILE])

    def save(self, path: str | os.PathLike[str], microns: tuple[float, float] | None = None) -> None:
        """Write the file, once all tiles are there.

        Args:
            path: the file.
            microns: sides (x, y) of a pixel in micrometres; None where they are not known.

        Raises:
            OSError: it cannot be written.
        """
        with whole_file(path) as file, TiffWriter(file, bigtiff=True) as writer:
            self._write(writer, microns, is_smaller=False)

    def _write(self, writer: TiffWriter, microns: tuple[float, float] | None, is_smaller: bool) -> None:
        self._packed.seek(0)
        resolution = {}
        if microns is not None:
            resolution = {"resolution": [10_000 / side for side in microns], "resolutionunit": "CENTIMETER"}
        writer.write(
            (self._packed.read(length) for length in self._lengths),
            shape=self.size[::-1],
            dtype=np.uint8,
            tile=(TILE, TILE),
            compression="zlib",
            photometric="minisblack",
            subfiletype=int(is_smaller),
            software=None if is_smaller else f"SemiGDA {__version__}",
            metadata=None,
            **resolution,
        )
        if self._smaller is not None:
            larger = None
            if microns is not None:
                larger = tuple(
                    side * own / less for side, own, less in zip(microns, self.size, self._smaller.size, strict=True)
                )
            self._smaller._write(writer, larger, is_smaller=True)
