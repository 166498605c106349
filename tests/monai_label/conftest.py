"""A server's datastore without MONAI Label."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

SERVER = "monailabel.interfaces.utils.app"


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
