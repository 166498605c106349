from __future__ import annotations

import json

import pytest

from custom.data.phantom import write_phantom_dataset


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom_dataset(folder, labelled=8, unlabelled=0, validation=1, test=2, image_size=32)
    datalist = json.loads((folder / "datalist.json").read_text())
    return [{key: str(folder / item[key]) for key in ("image", "label")} for item in datalist["training"]]
