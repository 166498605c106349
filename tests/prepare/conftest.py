"""Made-up sources: small pictures, all different, with masks."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
from PIL import Image

from custom.checks import check_dataset
from custom.data import load_datalist
from custom.prepare import PrepareOptions, prepare_dataset

SIZE = (16, 12)


def picture(path, size=SIZE, **save_options):
    """A picture of noise which its path seeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(zlib.crc32(str(path).encode()))
    Image.fromarray(random.randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path, **save_options)
    return path


def mask(path, values=(0, 255), size=SIZE, **save_options):
    """A mask with the values in upright stripes of equal width, the first at the left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stripes = np.asarray(values, np.uint8)[np.arange(size[0]) * len(values) // size[0]]
    Image.fromarray(np.tile(stripes, (size[1], 1))).save(path, **save_options)
    return path


def pairs(folder, names, images="images", masks="masks", suffix=".png", values=(0, 255)):
    """Folders of images and masks."""
    for name in names:
        picture(folder / images / f"{name}{suffix}")
        mask(folder / masks / f"{name}{suffix}", values)
    return folder


class PreparedFolder:
    """A prepared folder, with what tests ask of it."""

    def __init__(self, folder, result):
        self.folder, self.result = folder, result
        self.datalist = json.loads((folder / "datalist.json").read_text())
        self.report = (folder / "report.md").read_text()

    def names(self, split):
        return {entry["image"].removeprefix("images/").rsplit(".", 1)[0] for entry in self.datalist[split]}

    def values(self, name):
        """Values [H, W] of a mask."""
        return np.asarray(Image.open(self.folder / "masks" / f"{name}.png"))


@pytest.fixture
def prepare(tmp_path):
    """Function (data set, source or sources, options) -> `PreparedFolder`, checked as training checks it."""

    def run(dataset, *sources, output="prepared", overwrite=False, limits=None, **options):
        options = PrepareOptions(**{"audit": False, **options})
        result = prepare_dataset(dataset, sources, tmp_path / output, options, overwrite, limits, show_progress=False)
        prepared = PreparedFolder(result.folder, result)
        splits = load_datalist(result.folder / "datalist.json", result.folder)
        ignore_value = prepared.datalist.get("ignore_value")
        check_dataset(splits, prepared.datalist["num_classes"], ignore_value, show_progress=False)
        return prepared

    return run


@pytest.fixture
def own(tmp_path):
    """A folder of ten images with masks."""
    return pairs(tmp_path / "own", [f"case {number}" for number in range(10)])
