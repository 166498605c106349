"""The real MONAI Label server on loopback, with the tiny network."""

from __future__ import annotations

import csv
import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

pytest.importorskip(
    "monailabel", reason="MONAI Label is not installed in this environment; .ci/run tests it in its own"
)

import requests

from custom.monai_label.command import add_bundle
from custom.networks import load_model
from scripts.label_server import LabelServer
from tests.monai_label.clients import BUNDLE, NAME, ODD, SETTINGS, Client, fill


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
        while client.train_status()["status"] == "SUBMITTED":  # until it runs, MONAI Label queues a second request
            time.sleep(0.1)
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
    assert untrained["submitted"].json()["status"] in ("SUBMITTED", "RUNNING")  # the answer may come late
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
    """The mask [H, W] as the bundle's inference.yaml makes it, taken apart by hand."""
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


def test_requests_at_the_same_time_get_the_answers_that_they_get_alone(client):
    cases = [f"case {number}" for number in range(4)]
    alone = [client.infer(case, output="image").content for case in cases]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda case: client.infer(case, output="image").content, cases))
    assert together == alone


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
def test_errors_get_one_clear_line_and_lose_nothing(send, status, words, client, place):
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


def test_a_training_from_scratch_aligns_and_a_further_one_does_not(client, place):
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
