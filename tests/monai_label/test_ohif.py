"""The viewer OHIF itself, in a browser, on a DICOM store: it comes with MONAI Label."""

from __future__ import annotations

import io

import numpy as np
import pytest

pytest.importorskip(
    "monailabel", reason="MONAI Label is not installed in this environment; .ci/run tests it in its own"
)

import SimpleITK
from PIL import Image

from custom.monai_label.command import add_bundle
from custom.networks import SemiGDA, save_model
from scripts.browser import Browser, find_chromium
from scripts.label_server import LabelServer
from scripts.ohif import Ohif
from scripts.orthanc import Orthanc
from tests.monai_label.clients import BUNDLE, NAME, NETWORK, SETTINGS, Client

if not Orthanc.is_installed() or find_chromium() is None:
    pytest.skip(
        "needs a DICOM store and a browser: apt-get install orthanc orthanc-dicomweb chromium", allow_module_level=True
    )


def expected_mask(client, series, shape, folder):
    """The mask of a plain request, brought by its geometry onto the slices as they were sent."""
    file = folder / "mask.nii.gz"
    file.write_bytes(client.infer(series, output="image", result_extension=".nii.gz").content)
    slices = SimpleITK.Image(shape[::-1], SimpleITK.sitkUInt8)
    slices.SetOrigin((-10, -20, 0))
    slices.SetSpacing((1.2, 1.5, 3))
    return SimpleITK.GetArrayFromImage(
        SimpleITK.Resample(SimpleITK.ReadImage(str(file)), slices, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor)
    )


def test_ohif_shows_the_mask_of_a_series(phantom, tmp_path, monkeypatch):
    save_model(SemiGDA(**NETWORK), tmp_path / "model.pt", {"image_size": SETTINGS["image_size"]})
    add_bundle(BUNDLE, tmp_path / "app", checkpoint=tmp_path / "model.pt")
    monkeypatch.setenv("MONAI_LABEL_DICOMWEB_CACHE_PATH", str(tmp_path / "cache"))
    monkeypatch.setenv("MONAI_LABEL_AUTO_UPDATE_SCORING", "false")
    pictures = [np.asarray(Image.open(item["image"]).convert("L").resize((40, 32))) for item in phantom[:5]]
    with Orthanc(tmp_path / "orthanc") as store:
        series = store.send(np.stack(pictures).astype(np.int16), (1.5, 1.2, 3))
        server = LabelServer(tmp_path / "app", tmp_path)
        server.studies = f"{store.url}/dicom-web"
        with server, Browser() as browser:
            viewer = Ohif(browser, server.url, series)
            assert viewer.models() == [NAME]
            assert not viewer.mask().any()
            before = coloured(browser)
            assert viewer.segment() == 200
            expected = expected_mask(Client(server), series.series, (5, 32, 40), tmp_path)
            assert 0 < expected.mean() < 1
            np.testing.assert_array_equal(viewer.mask() > 0, expected > 0)
            assert coloured(browser) > before + 1000
            shown = viewer.next_sample("disagreement")
            assert (shown["Study Instance UID"], shown["Series Instance UID"]) == series


def coloured(browser):
    """How many pixels of the page are green or red, as its segments; its frame is blue."""
    red, green, blue = np.moveaxis(np.asarray(Image.open(io.BytesIO(browser.picture())).convert("RGB"), int), 2, 0)
    return int((np.maximum(red, green) > blue + 40).sum())
