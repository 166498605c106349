"""A DICOM store, Orthanc, as the server's datastore: what OHIF does with a series."""

from __future__ import annotations

import io
import json
import time

import numpy as np
import pytest

pytest.importorskip(
    "monailabel", reason="MONAI Label is not installed in this environment; .ci/run tests it in its own"
)

import pydicom
import requests

from custom.monai_label.command import add_bundle
from custom.networks import SemiGDA, save_model
from scripts.label_server import LabelServer
from scripts.orthanc import Orthanc
from tests.monai_label.clients import BUNDLE, NETWORK, SETTINGS, Client

if not Orthanc.is_installed():
    pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb", allow_module_level=True)

SHAPE = (32, 40, 5)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as store:
        yield store


def send_series(orthanc):
    """Five CT slices; returns the UID of their series."""
    values = np.kron(np.random.default_rng(0).integers(0, 1000, (5, 10, 8)), np.ones((1, 4, 4)))
    return orthanc.send(values.astype(np.int16), (1.5, 1.2, 3)).series


def test_a_series_is_predicted_labelled_and_trained_on(orthanc, tmp_path, monkeypatch):
    series = send_series(orthanc)
    save_model(SemiGDA(**NETWORK), tmp_path / "model.pt", {"image_size": SETTINGS["image_size"]})
    add_bundle(BUNDLE, tmp_path / "app", checkpoint=tmp_path / "model.pt")
    for key, value in (("CACHE_PATH", str(tmp_path / "cache")), ("CACHE_EXPIRY", "1")):
        monkeypatch.setenv(f"MONAI_LABEL_DICOMWEB_{key}", value)
    monkeypatch.setenv("MONAI_LABEL_AUTO_UPDATE_SCORING", "false")
    server = LabelServer(tmp_path / "app", tmp_path)
    server.studies = f"{orthanc.url}/dicom-web"
    with server:
        client = Client(server)
        assert client.info()["datastore"]["total"] == 1
        options = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False}
        mask = client.infer(series, output="image", **options).content.split(b"\n\n", 1)[1]
        assert len(mask) == np.prod(SHAPE)
        for unknown in ("1.2.3", "..", "*"):
            assert client.infer(unknown, output="image").status_code in (400, 404)
        assert submit(server, "1.2.3", np.ones(SHAPE)).status_code == 404
        drawn = np.zeros(SHAPE, np.uint8)
        assert "it is empty" in submit(server, series, drawn).json()["detail"]
        assert "bytes for each voxel" in submit(server, series, drawn[1:]).json()["detail"]
        drawn[5:20, 10:30, 1:4] = 1
        assert submit(server, series, drawn).json() == {"image": series, "label": series}
        segmentation = stored_segmentation(orthanc.url)
        assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == series
        assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == ["polyp"]
        assert segmentation.pixel_array.sum() == drawn.sum()
        time.sleep(1.5)  # until MONAI Label asks the store anew
        assert client.info()["datastore"]["completed"] == 1
        assert client.train().ok
        assert "training on 1 labelled and 0 unlabelled images" in server.log.read_text()


def submit(server, series, voxels):
    form = {
        "params": (None, json.dumps({"label_info": [{"name": "polyp", "idx": 1}]})),
        "label": ("label.bin", voxels.astype("u1").tobytes(order="F")),
    }
    return requests.put(f"{server.url}/datastore/label?image={series}", files=form)


def stored_segmentation(url):
    for instance in requests.get(f"{url}/instances").json():
        dataset = pydicom.dcmread(io.BytesIO(requests.get(f"{url}/instances/{instance}/file").content))
        if dataset.Modality == "SEG":
            return dataset
    raise AssertionError("no segmentation in the store")
