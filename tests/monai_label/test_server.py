"""The real MONAI Label server on loopback, with the tiny network."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip(
    "monailabel", reason="MONAI Label is not installed in this environment; .ci/run tests it in its own"
)

import requests

from custom.benchmarks.label_server import LabelServer
from custom.benchmarks.monai_label_walkthrough import ARMS, Walkthrough, draw_results, format_results
from custom.checkpoints import load_model
from custom.data.phantom import write_phantom_dataset
from custom.export import export_bundle
from custom.monai_label.__main__ import add_bundle
from tests.bundles.conftest import ROOT
from tests.conftest import KL

BUNDLE = ROOT / "bundles" / "semigda_polyp"
NAME = BUNDLE.name
SETTINGS = {"first_stage": KL, "width": 4, "mapper_width": 8, "image_size": 32}
REQUEST = {"device": "cpu", "multi_gpu": False, "val_split": 0, "max_epochs": 1, "alignment_epochs": 1, "mlflow": False}
ODD = (45, 38)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom_dataset(folder, labelled=8, unlabelled=0, validation=1, test=2, image_size=32)
    datalist = json.loads((folder / "datalist.json").read_text())
    return [{key: str(folder / item[key]) for key in ("image", "label")} for item in datalist["training"]]


def fill(studies, items):
    """Images of an odd size: grey PNG, colour PNG, grey JPEG and colour JPEG; returns the masks by name."""
    studies.mkdir(parents=True)
    masks = {}
    for number, item in enumerate(items):
        name = f"case {number}"
        mode, suffix = [("L", ".png"), ("RGB", ".png"), ("L", ".jpg"), ("RGB", ".jpg")][number % 4]
        Image.open(item["image"]).convert(mode).resize(ODD).save(studies / f"{name}{suffix}")
        masks[name] = studies.parent / f"mask of {name}.png"
        Image.open(item["label"]).convert("L").resize(ODD, Image.Resampling.NEAREST).save(masks[name])
    return masks


class Client:
    """Requests to a server, with their status."""

    def __init__(self, server):
        self.url = server.url

    def infer(self, image="", output="json", upload=None, **params):
        files = {"file": upload} if upload else None
        query = {"image": image, "output": output}
        data = {"params": json.dumps({"device": "cpu", **params})}
        return requests.post(f"{self.url}/infer/{NAME}", params=query, data=data, files=files)

    def label(self, image, file):
        return requests.put(
            f"{self.url}/datastore/label", params={"image": image, "tag": "final"}, files={"label": file}
        )

    def upload(self, name, file):
        return requests.put(f"{self.url}/datastore/image", params={"image": name}, files={"file": file})

    def train(self, sync=True, **request):
        return requests.post(f"{self.url}/train/{NAME}?run_sync={sync}", json={**REQUEST, **request})

    def train_status(self):
        return requests.get(f"{self.url}/train/").json()

    def ask(self, strategy="disagreement"):
        return requests.post(f"{self.url}/activelearning/{strategy}", json={}).json()

    def info(self):
        return requests.get(f"{self.url}/info/").json()


def wait_for_training(client):
    while (status := client.train_status())["status"] in ("SUBMITTED", "RUNNING"):
        time.sleep(0.3)
    return status


@pytest.fixture(scope="module")
def place(tmp_path_factory, phantom):
    """An app with an untrained bundle, and a folder of eight images with their masks beside it."""
    folder = tmp_path_factory.mktemp("label")
    add_bundle(BUNDLE, folder / "app", settings=SETTINGS)
    masks = fill(folder / "studies", phantom)
    return folder, masks


@pytest.fixture(scope="module")
def untrained(place):
    """Answers of a server whose model is untrained, then labels and a first training."""
    folder, masks = place
    with LabelServer(folder / "app", folder / "studies") as server:
        client = Client(server)
        answers = {
            "info": client.info(),
            "infer": client.infer("case 0"),
            "ask": client.ask(),
            "train without labels": client.train(),
        }
        for name in ("case 0", "case 1", "case 2"):
            with open(masks[name], "rb") as file:
                assert client.label(name, file).ok
        answers["submitted"] = client.train(sync=False, max_epochs=2)
        answers["second request"] = client.train(sync=False)
        answers["status"] = wait_for_training(client)
    return answers


@pytest.fixture(scope="module")
def server(place, untrained):
    """A server started anew on the trained model, with scores of all images."""
    folder, _ = place
    with LabelServer(folder / "app", folder / "studies") as server:
        server.score(NAME)
        yield server


@pytest.fixture
def client(server):
    return Client(server)


def model_of(place):
    return place[0] / "app" / "model" / NAME / "models" / "model.pt"


def test_an_untrained_bundle_is_listed_and_asks_for_labels(untrained):
    assert untrained["info"]["models"][NAME]["labels"] == {"polyp": 1}
    assert {"random", "first", "disagreement"} <= set(untrained["info"]["strategies"])
    assert untrained["infer"].status_code == 409
    assert "not trained yet" in untrained["infer"].json()["detail"]
    assert untrained["ask"]["reason"] == "random: the model is not trained yet"
    assert untrained["train without labels"].status_code == 400
    assert "no labelled image" in untrained["train without labels"].json()["detail"]


def test_training_uses_the_unlabelled_images_and_reports(place, untrained):
    assert untrained["submitted"].json()["status"] == "SUBMITTED"
    assert untrained["second request"].status_code == 429
    assert untrained["status"]["status"] == "DONE", untrained["status"]["details"]
    log = (place[0] / "app" / "server.log").read_text()
    assert "training on 3 labelled and 5 unlabelled images, validating on 0" in log
    assert "segmentation: epoch 2/2" in log
    assert not model_of(place).with_name("UNTRAINED.txt").exists()


@pytest.mark.parametrize("case", range(4))
def test_a_mask_has_the_size_of_its_image_and_equals_that_of_the_command_line(case, client, place):
    answer = client.infer(f"case {case}", output="image")
    assert answer.headers["content-type"] == "image/png"
    mask = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert mask.shape == ODD[::-1]
    np.testing.assert_array_equal(mask > 0, predict(place, case))


def predict(place, case):
    """The mask [H, W] as the bundle's inference.json makes it, taken apart by hand."""
    import torch

    network = load_model(model_of(place))
    (file,) = (place[0] / "studies").glob(f"case {case}.*")
    pixels = np.asarray(Image.open(file).convert("RGB"), np.float32) / 255
    image = torch.from_numpy(pixels).permute(2, 1, 0)[None]  # [1, 3, W, H]
    small = torch.nn.functional.interpolate(image, (32, 32), mode="bilinear", align_corners=False)
    with torch.no_grad():
        soft = network(small)
    back = torch.nn.functional.interpolate(soft, ODD, mode="bilinear", align_corners=False)
    return (back[0, 0].T.round() > 0).numpy()


def test_the_json_answer_describes_the_mask(client):
    answer = client.infer("case 3").json()
    assert answer["trained"] is True
    assert answer["label_names"] == {"polyp": 1}
    assert 0 <= answer["disagreement"] <= 1


def test_an_uploaded_image_is_predicted(client, place):
    (file,) = (place[0] / "studies").glob("case 3.*")
    with open(file, "rb") as upload:
        answer = client.infer(output="image", upload=(file.name, upload))
    assert Image.open(io.BytesIO(answer.content)).size == ODD


@pytest.mark.parametrize(
    ("send", "status", "words"),
    [
        (lambda client: client.infer("nobody"), 404, "no image 'nobody'"),
        (lambda client: client.infer(upload=("a.png", io.BytesIO(b"broken"))), 400, "cannot be read"),
        (lambda client: client.label("case 0", ("a.png", io.BytesIO(b"broken"))), 400, "cannot be read"),
        (lambda client: client.label("case 0", ("a.png", picture((9, 9)))), 400, "9x9 pixels, its image 45x38"),
        (lambda client: client.label("nobody", ("a.png", picture(ODD))), 404, "no such image"),
        (lambda client: client.upload("new", ("a.png", io.BytesIO(b"broken"))), 400, "cannot be read"),
        (lambda client: client.train(max_epochs=1, val_split=0, learning_rate="fast"), 400, "learning_rate"),
    ],
)
def test_mistakes_get_one_clear_line_and_lose_nothing(send, status, words, client, place):
    folder, masks = place
    stored = folder / "studies" / "labels" / "final" / "case 0.png"
    before = (stored.read_bytes(), model_of(place).read_bytes(), sorted((folder / "studies").glob("*.*")))
    answer = send(client)
    assert answer.status_code == status
    assert words in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert (stored.read_bytes(), model_of(place).read_bytes(), sorted((folder / "studies").glob("*.*"))) == before


def picture(size):
    file = io.BytesIO()
    Image.new("L", size).save(file, "png")
    file.seek(0)
    return file


def test_disagreement_chooses_an_unlabelled_image_and_no_image_twice(client):
    asked = [client.ask() for _ in range(5)]
    assert {answer["id"] for answer in asked} == {f"case {number}" for number in range(3, 8)}
    assert all(answer["reason"].startswith("disagreement") for answer in asked)
    assert client.ask()["id"] in {answer["id"] for answer in asked}  # all were asked: from the start again
    info = requests.get(f"{client.url}/datastore/image/info", params={"image": asked[0]["id"]}).json()
    assert 0 <= info["disagreement"] <= 1


def test_predictions_of_all_unlabelled_images_are_stored(client):
    requests.post(
        f"{client.url}/batch/infer/{NAME}?images=unlabeled&run_sync=true", json={"device": "cpu", "multi_gpu": False}
    )
    assert client.info()["datastore"]["label_tags"]["original"] == 5


def stages_of(run):
    with open(run / "metrics.csv") as file:
        return {row["stage"] for row in csv.DictReader(file)}


def newest_run(place):
    return max((model_of(place).parents[1] / "runs").glob("monai_label*"), key=lambda run: run.stat().st_mtime_ns)


def test_a_training_from_scratch_aligns_and_one_that_goes_on_does_not(client, place):
    assert client.train(pretrained=False).ok
    assert stages_of(newest_run(place)) == {"alignment", "segmentation"}
    assert client.train().ok
    assert stages_of(newest_run(place)) == {"segmentation"}


def test_a_server_killed_in_the_middle_of_training_keeps_its_model(place, untrained):
    folder, _ = place
    before = model_of(place).read_bytes()
    server = LabelServer(folder / "app", folder / "studies")
    with server:
        runs = model_of(place).parents[1] / "runs"
        others = set(runs.iterdir())
        Client(server).train(sync=False, max_epochs=500)
        while not [run for run in set(runs.iterdir()) - others if (run / "metrics.csv").is_file()]:
            time.sleep(0.1)
        server.stop(kill=True)
    assert model_of(place).read_bytes() == before
    with LabelServer(folder / "app", folder / "studies") as server:
        assert Client(server).infer("case 3").json()["trained"] is True


def test_the_stock_app_predicts_and_trains_with_the_unlabelled_images(tmp_path, place, untrained):
    import shutil
    import sys

    folder, masks = place
    shutil.copytree(Path(sys.prefix, "monailabel", "sample-apps", "monaibundle"), tmp_path / "app")
    export_bundle(BUNDLE, tmp_path / "app" / "model" / NAME, model_of(place), monai_label=True)
    studies = tmp_path / "studies"
    studies.mkdir()
    for file in (folder / "studies").glob("case *"):
        shutil.copy(file, studies)
    options = ("--conf", "models", NAME, "--conf", "zoo_source", "local")
    with LabelServer(tmp_path / "app", studies, options) as server:
        client = Client(server)
        assert NAME in client.info()["models"]
        assert Image.open(io.BytesIO(client.infer("case 2", output="image").content)).size == ODD
        with open(masks["case 0"], "rb") as file:
            assert client.label("case 0", file).ok
        model = tmp_path / "app" / "model" / NAME / "models" / "model.pt"
        before = model.read_bytes()
        assert client.train(mlflow=None).ok
        assert model.read_bytes() != before
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
