"""The scripted walk-through, and the app that comes with MONAI Label, on real servers."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip(
    "monailabel", reason="MONAI Label is not installed in this environment; .ci/run tests it in its own"
)

from custom.export import export_bundle
from custom.networks import SemiGDA, save_model
from scripts.label_server import LabelServer
from scripts.monai_label_walkthrough import ARMS, Walkthrough, draw_results, format_results
from tests.monai_label.clients import BUNDLE, NAME, NETWORK, ODD, SETTINGS, Client, fill


def test_the_stock_app_predicts_and_trains_with_the_unlabelled_images(tmp_path, phantom):
    masks = fill(tmp_path / "studies", phantom)
    shutil.copytree(Path(sys.prefix, "monailabel", "sample-apps", "monaibundle"), tmp_path / "app")
    save_model(SemiGDA(**NETWORK), tmp_path / "model.pt", {"image_size": SETTINGS["image_size"]})
    place = export_bundle(BUNDLE, tmp_path / "app" / "model" / NAME, tmp_path / "model.pt", monai_label=True)
    options = ("--conf", "models", NAME, "--conf", "zoo_source", "local")
    with LabelServer(tmp_path / "app", tmp_path / "studies", options) as server:
        client = Client(server)
        assert NAME in client.info()["models"]
        assert Image.open(io.BytesIO(client.infer("case 2", output="image").content)).size == ODD
        with open(masks["case 0"], "rb") as file:
            assert client.label("case 0", file).ok
        before = (place / "models" / "model.pt").read_bytes()
        assert client.train(mlflow=None).ok
        assert (place / "models" / "model.pt").read_bytes() != before
    assert "training on 1 labelled and 7 unlabelled images" in (tmp_path / "app" / "server.log").read_text()


def test_the_walkthrough_compares_three_arms(tmp_path, phantom):
    pool, test = phantom[:6], phantom[6:]
    requests_ = {"max_epochs": 1, "alignment_epochs": 1, "mlflow": False}
    walkthrough = Walkthrough(tmp_path / "walk", BUNDLE, SETTINGS, pool, test, requests_, start=2, add=1, rounds=2)
    (tmp_path / "walk").mkdir()
    rows = walkthrough.run()
    assert {(row["arm"], row["round"], row["labels"]) for row in rows} == {
        (arm, number, labels) for arm in ARMS for number, labels in ((1, 2), (2, 3))
    }
    assert len(rows) == len(ARMS) * 2 * len(test)
    assert all(0 <= row["dice"] <= 1 for row in rows)
    assert format_results(rows).count("\n") == 1 + len(ARMS)
    draw_results(rows, tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").width > 300
    log = (tmp_path / "walk" / "labels_only" / "app" / "server.log").read_text()
    assert "training on 3 labelled and 0 unlabelled images" in log
