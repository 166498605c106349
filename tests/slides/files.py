"""Small slides in files: pyramids of tiles, as scanners and viewers write them."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import zoom
from tifffile import TiffWriter


def tissue(width, height, seed=0):
    """Smooth blobs of colour [height, width, 3], on which networks differ from place to place."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 20 + 2, width // 20 + 2, 3))
    return zoom(coarse.astype(np.float32), (20, 20, 1), order=1)[:height, :width].clip(0, 255).astype(np.uint8)


def write_slide(path, values, microns=0.5, levels=(1, 2, 4), aperio=False, tile=128, **settings):
    """A pyramid of tiles; with `aperio` as an Aperio scanner describes it. `microns` None: no resolution is stated."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stated = {"resolution": (1e4 / microns, 1e4 / microns), "resolutionunit": "CENTIMETER"} if microns else {}
    height, width = values.shape[:2]
    with TiffWriter(path, bigtiff=False) as writer:
        for factor in levels:
            smaller = values[: height // factor * factor, : width // factor * factor]
            smaller = smaller.reshape(height // factor, factor, width // factor, factor, -1).mean(axis=(1, 3))
            description = f"Aperio Image Library v1\r\n{width}x{height} (128x128) JPEG|AppMag = 20|MPP = {microns}"
            writer.write(
                smaller.astype(values.dtype).squeeze(),
                tile=(tile, tile),
                compression=settings.get("compression", "zlib"),
                photometric="rgb" if values.ndim == 3 else "minisblack",
                description=description if aperio else None,
                subfiletype=0 if aperio else int(factor > 1),
                metadata=None,
                **stated,
            )
    return path
