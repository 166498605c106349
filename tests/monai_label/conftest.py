"""Pictures for a server, and a server's datastore without MONAI Label."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from custom.phantoms.dataset import write_phantom_dataset

SERVER = "monailabel.interfaces.utils.app"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom_dataset(folder, labelled=8, unlabelled=0, validation=1, test=2, image_size=32)
    datalist = json.loads((folder / "datalist.json").read_text())
    return [{key: str(folder / item[key]) for key in ("image", "label")} for item in datalist["training"]]


def fake_server(unlabelled):
    """What code finds as the module `SERVER`: a datastore with these unlabelled images, paths by id."""
    datastore = SimpleNamespace(get_unlabeled_images=lambda: list(unlabelled), get_image_uri=unlabelled.__getitem__)
    app = SimpleNamespace(datastore=lambda: datastore)
    return SimpleNamespace(app_instance=lambda: app)


@pytest.fixture
def serve(monkeypatch):
    """Function (path of each unlabelled image by id): from now on, code finds a server with this datastore."""
    return lambda unlabelled: monkeypatch.setitem(sys.modules, SERVER, fake_server(unlabelled))


@pytest.fixture
def no_server(monkeypatch):
    """As if monailabel were not installed."""
    monkeypatch.setitem(sys.modules, SERVER, None)
