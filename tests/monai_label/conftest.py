"""A server's datastore without MONAI Label."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

SERVER = "monailabel.interfaces.utils.app"


@pytest.fixture
def serve(monkeypatch):
    """Function (path of each unlabelled image by id): from now on, code finds a server with this datastore."""

    def start(unlabelled):
        datastore = SimpleNamespace(get_unlabeled_images=lambda: list(unlabelled), get_image_uri=unlabelled.__getitem__)
        app = SimpleNamespace(datastore=lambda: datastore)
        monkeypatch.setitem(sys.modules, SERVER, SimpleNamespace(app_instance=lambda: app))

    return start


@pytest.fixture
def no_server(monkeypatch):
    """As if monailabel were not installed."""
    monkeypatch.setitem(sys.modules, SERVER, None)
