from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from PIL import Image

from custom.prepare.report_pictures import draw_examples


def drawn(folder: Path, mask: np.ndarray) -> np.ndarray:
    """The examples of a set of one grey image with this mask."""
    Image.new("RGB", mask.shape[::-1], (90, 90, 90)).save(folder / "image.png")
    Image.fromarray(mask).save(folder / "mask.png")
    written = SimpleNamespace(image="image.png", label="mask.png", record=SimpleNamespace(name="image"))
    draw_examples(folder, [written], ["training"], ["background", "lesion"], folder / "examples.png")
    return np.asarray(Image.open(folder / "examples.png"))


def test_ignored_pixels_are_outlined_as_no_class(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 10:30] = 1
    undecided = mask.copy()
    undecided[30:] = 255
    assert np.array_equal(drawn(tmp_path, mask), drawn(tmp_path, undecided))
    assert not np.array_equal(drawn(tmp_path, mask), drawn(tmp_path, np.zeros_like(mask)))
