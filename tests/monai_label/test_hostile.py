"""Requests to a real server that mean harm or are merely wrong: nothing is run, written outside or answered by 500."""

from __future__ import annotations

import io
import json
import os
import socket

import pytest
from PIL import Image

pytest.importorskip(
    "monailabel", reason="MONAI Label is not installed in this environment; .ci/run tests it in its own"
)

import requests
from monailabel.client import MONAILabelClient

from custom.monai_label.allowed import (
    ActiveLearningOptions,
    BatchOptions,
    InferOptions,
    ScoringOptions,
    TrainOptions,
    WSIOptions,
)
from custom.monai_label.command import add_bundle
from custom.networks import SemiGDA, save_model
from scripts.label_server import LabelServer
from tests.monai_label.clients import BUNDLE, NAME, NETWORK, ODD, SETTINGS, fill

OTHER_KEYS = (
    "_target_",
    "bundle_path",
    "bundle_root",
    "image",
    "local_rank",
    "network_def",
    "run_name",
    "skip_writer",
    "train#trainer",
    "train#trainer#max_epochs",
    "validate",
)
IMAGE = {"image": "case 0"}
WRONG = ({}, [["x"]], {"x": ["y"]}, 10**30, -(10**30), 1e300, [None], {"_target_": "os.system"})
JSON_ADDRESSES = {
    f"/train/{NAME}": TrainOptions,
    "/train/": TrainOptions,
    f"/scoring/{NAME}": ScoringOptions,
    "/scoring/": ScoringOptions,
    "/activelearning/random": ActiveLearningOptions,
    "/activelearning/disagreement": ActiveLearningOptions,
    f"/batch/infer/{NAME}": BatchOptions,
    f"/infer/wsi/{NAME}": WSIOptions,
}
BAD_NAMES = (
    "../../X",
    "..",
    ".",
    ".hidden",
    "/abs/X",
    "a/b",
    "a\\b",
    "..\\..\\X",
    "C:X",
    "C:\\X",
    "a\0b",
    "a\nb",
    "labels",
    "LABELS",
    "datastore_v2.json",
    "datastore_v2",
    "nul",
    "x" * 300,
    "é" * 150,
    "$x",
    "@x",
    "%x",
    "a@#b",
    "a::b",
    "~x",
    "x.",
    " x",
    "a\u202eb",
    "a*b",
)


class Place:
    """Where a server runs: the folder of everything, its app, and its images."""

    def __init__(self, folder):
        self.folder, self.app, self.studies = folder, folder / "app", folder / "studies"
        self.marker = folder / "marker"
        self.url = None

    @property
    def harmful(self):
        """Texts that would create the marker, or read or write elsewhere, if anything made more of them than text."""
        code = f"__import__('pathlib').Path({str(self.marker)!r}).touch()"
        return (
            f"${code}",
            f"$@bundle_root and {code}",
            "@bundle_root",
            f"%{self.folder}/outside.json#x",
            "../../X",
            f"{self.folder}/outside.png",
            "a\nb",
            "a\0b",
            "x" * 5000,
        )

    def content(self):
        """All files with their content, but for what the server prints."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files if not {"logs", "server.log"} & set(path.parts)}

    def send(self, method, address, **options):
        return requests.request(method, self.url + address, timeout=60, **options)


def refused(answer, *statuses):
    """The one line of an answer that refuses a request."""
    assert answer.status_code in (statuses or (400, 404)), (answer.status_code, answer.text)
    if answer.request.method != "HEAD":
        detail = answer.json()["detail"]
        assert isinstance(detail, str)
        assert detail
        assert "\n" not in detail
    return True


@pytest.fixture(scope="module")
def place(tmp_path_factory, phantom):
    """A server with a trained model, eight images and one label, and a picture outside of its folders."""
    place = Place(tmp_path_factory.mktemp("hostile"))
    save_model(SemiGDA(**NETWORK), place.folder / "model.pt", {"image_size": SETTINGS["image_size"]})
    add_bundle(BUNDLE, place.app, checkpoint=place.folder / "model.pt")
    masks = fill(place.studies, phantom)
    Image.new("L", ODD, 7).save(place.folder / "outside.png")
    (place.folder / "outside.json").write_text('{"x": 1}')
    os.symlink(place.folder / "outside.png", place.studies / "linked.png")
    settings = {"SESSION_PATH": str(place.folder / "sessions"), "AUTO_UPDATE_SCORING": "false"}
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.items():
            patch.setenv(f"MONAI_LABEL_{key}", value)
        with LabelServer(place.app, place.studies) as server:
            place.url = server.url
            with open(masks["case 0"], "rb") as file:
                assert place.send("PUT", "/datastore/label?image=case 0", files={"label": file}).ok
            yield place


@pytest.fixture(autouse=True)
def nothing_changes(place, request):
    """No test but those marked as honest changes a file in the server's folders or beside them."""
    before = place.content()
    yield
    assert not place.marker.exists()
    if request.node.get_closest_marker("honest") is None:
        assert place.content() == before


def picture(size=ODD, kind="png"):
    file = io.BytesIO()
    Image.new("L", size).save(file, kind)
    return file.getvalue()


TEXT = {"client_id", "label", "labels", "label_prompt", "selected_label_name"}  # a path is a text like others here
FREE = {"label_info", "points"}  # data of other models, which has no effect


def bad_values(key, place):
    """Harmful texts for a key, the first one at several depths."""
    code, *others = place.harmful
    yield from (code, [code], {"x": code}, {code: 1}, [[{"x": code}]])
    yield from (text for text in others if key not in TEXT or text[0] not in "./")


@pytest.mark.parametrize("address", JSON_ADDRESSES)
def test_no_key_of_a_request_takes_an_expression_a_path_or_another_type(address, place):
    for key in (*JSON_ADDRESSES[address].model_fields, *OTHER_KEYS):
        for value in () if key in FREE else bad_values(key, place):
            assert refused(place.send("POST", address, params=IMAGE if "wsi" in address else {}, json={key: value}))


def test_options_for_all_models_are_checked_for_each(place):
    for key in (*TrainOptions.model_fields, *OTHER_KEYS):
        assert refused(place.send("POST", "/train/", json={NAME: {key: place.harmful[0]}}))


@pytest.mark.parametrize("address", JSON_ADDRESSES)
@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"[1]", b"1", b'"x"', b"\xff\xfe", b'{"device": NaN}', b'{"client_id": "\\ud800"}']
)
def test_broken_json_is_an_error_of_the_client(address, body, place):
    headers = {"Content-Type": "application/json"}
    address = f"{address}?image=case 0" if "wsi" in address else address
    assert refused(place.send("POST", address, data=body, headers=headers))


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b'{"seed": ' + b"9" * 5000 + b"}", b'{"seed": 1e999}']
)
def test_json_that_is_too_deep_or_too_large_is_refused(body, place):
    assert refused(place.send("POST", f"/train/{NAME}", data=body, headers={"Content-Type": "application/json"}))


@pytest.mark.parametrize("address", ["/train/{}", "/scoring/{}", "/batch/infer/{}", "/infer/{}", "/activelearning/{}"])
@pytest.mark.parametrize("name", ["nobody", "..", "$x", "a b", "é"])
def test_unknown_models_strategies_and_methods_are_not_found(address, name, place):
    address = address.format(requests.utils.quote(name, safe=""))
    options = {"files": {"file": ("a.png", picture())}} if address.startswith("/infer") else {"json": {}}
    assert refused(place.send("POST", address, **options), 404, 405)


@pytest.mark.parametrize("key", [key for key in (*InferOptions.model_fields, *OTHER_KEYS) if key not in FREE])
def test_no_key_of_an_inference_takes_what_it_is_not_made_for(key, place):
    for value in (*bad_values(key, place), *WRONG):
        assert refused(place.send("POST", f"/infer/{NAME}", params=IMAGE, data={"params": json.dumps({key: value})}))


def test_what_has_no_effect_is_not_evaluated_either(place):
    params = {key: [{place.harmful[0]: place.harmful[0]}] for key in FREE}
    assert place.send("POST", f"/infer/{NAME}", params=IMAGE, data={"params": json.dumps(params)}).ok


@pytest.mark.parametrize("image", [*BAD_NAMES, "outside", "../outside.png", "README.md", "model.pt"])
def test_only_images_of_the_datastore_are_predicted(image, place):
    assert refused(place.send("POST", f"/infer/{NAME}", params={"image": image, "output": "image"}))
    assert refused(place.send("POST", f"/infer/wsi/{NAME}", params={"image": image}, json={}))


def test_no_picture_outside_of_the_datastore_is_predicted(place):
    outside = str(place.folder / "outside.png")
    for address in (f"/infer/{NAME}", f"/infer/wsi/{NAME}", f"/infer/wsi_v2/{NAME}"):
        assert refused(place.send("POST", address, params={"image": outside}))
        assert refused(place.send("POST", address, params={"session_id": outside}))
        assert refused(place.send("POST", address))


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_of_images_and_tags_are_plain(name, place):
    file = {"file": ("a.png", picture())}
    assert refused(place.send("PUT", "/datastore/image", params={"image": name}, files=file))
    assert refused(place.send("PUT", "/datastore/", params={"image": name}, files=file))
    label = {"label": ("a.png", picture())}
    assert refused(place.send("PUT", "/datastore/label", params={"image": "case 0", "tag": name}, files=label))
    assert refused(place.send("PUT", "/datastore/label", params={"image": name}, files=label))
    for address in ("/datastore/", "/datastore/image"):
        assert refused(place.send("DELETE", address, params={"id": name}))
    assert refused(place.send("DELETE", "/datastore/label", params={"id": name, "tag": "final"}))
    assert refused(place.send("DELETE", "/datastore/label", params={"id": "case 0", "tag": name}))
    for method in ("GET", "HEAD"):
        assert refused(place.send(method, "/datastore/image", params={"image": name}))
    assert refused(place.send("GET", "/datastore/image/info", params={"image": name}))
    assert refused(place.send("GET", "/datastore/label", params={"label": name, "tag": "final"}))
    assert refused(place.send("GET", "/datastore/label", params={"label": "case 0", "tag": name}))
    assert refused(place.send("PUT", "/datastore/image/info", params={"image": name}, data={"info": "{}"}))
    for address in ("/datastore/label/info", "/datastore/updatelabelinfo"):
        assert refused(place.send("PUT", address, params={"label": name, "tag": "final"}))
        assert refused(place.send("PUT", address, params={"label": "case 0", "tag": name}))


@pytest.mark.parametrize(
    "name",
    [
        "x.exe",
        "x.pt",
        "x.py",
        "x.json",
        "datastore_v2.json",
        "x",
        ".png",
        "x.gz",
        "x.svs",
        "x.png.sh",
        "x.p\0ng",
        "x." + "y" * 300 + ".png",
    ],
)
def test_uploads_are_images_by_their_name(name, place):
    assert refused(place.send("PUT", "/datastore/image?image=new", files={"file": (name, picture())}))
    assert refused(place.send("PUT", "/datastore/label?image=case 0", files={"label": (name, picture())}))
    assert refused(place.send("PUT", "/session/", files={"files": (name, picture())}))
    assert refused(place.send("POST", f"/infer/{NAME}", files={"file": (name, picture())}))


@pytest.mark.parametrize("name", ["../../X.png", "/abs/X.png", "..png", "$x.png", ".datastore.png"])
def test_the_name_of_an_uploaded_file_chooses_no_place(name, place):
    answer = place.send("PUT", "/datastore/image", files={"file": (name, b"broken")})
    assert refused(answer)


def test_nothing_is_written_or_removed_through_a_link(place):
    assert refused(place.send("PUT", "/datastore/image?image=linked", files={"file": ("a.png", picture())}))
    assert refused(place.send("DELETE", "/datastore/image?id=linked"))


def test_what_is_not_there_is_not_removed(place):
    assert refused(place.send("DELETE", "/datastore/image?id=nobody"), 404)
    assert refused(place.send("DELETE", "/datastore/label?id=case 1&tag=final"), 404)
    assert refused(place.send("DELETE", "/datastore/label?id=nobody&tag=final"), 404)


@pytest.mark.parametrize(
    "info",
    [
        "{",
        "[]",
        "1",
        '{"a": NaN}',
        '{"a": "\\ud800"}',
        '{"a": 1e999}',
        '{"strategy": 5}',
        '{"path": "/etc"}',
        "[" * 5000,
        '{"a":' * 30 + "1" + "}" * 30,
    ],
)
def test_notes_are_json_objects_that_can_be_stored(info, place):
    assert refused(place.send("PUT", "/datastore/image/info?image=case 0", data={"info": info}))
    assert refused(place.send("PUT", "/datastore/label/info?label=case 0&tag=final", data={"info": info}))
    assert refused(place.send("PUT", "/datastore/updatelabelinfo?label=case 0&tag=final", data={"params": info}))
    label = {"label": ("a.png", picture())}
    assert refused(place.send("PUT", "/datastore/label?image=case 0", data={"params": info}, files=label))
    file = {"file": ("a.png", picture())}
    assert refused(place.send("PUT", "/datastore/image?image=new", data={"params": info}, files=file))


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("GET", "/nowhere"),
        ("POST", "/reload"),
        ("PUT", f"/model/{NAME}"),
        ("DELETE", f"/model/{NAME}"),
        ("GET", "/model/nobody"),
        ("GET", "/model/info/nobody"),
        ("GET", "/session/$x"),
        ("DELETE", "/session/%2e%2e"),
        ("GET", "/session/00000000-0000-0000-0000-000000000000"),
        ("GET", "/proxy/dicom/wado/x"),
        ("GET", "/proxy/dicom/x"),
        ("GET", "/logs/?lines=x"),
        ("GET", "/logs/?lines=99999999999999999999999"),
        ("GET", "/logs/?path=/etc/passwd"),
        ("GET", "/datastore/?output=x"),
        ("GET", "/datastore/?output=all&output=train"),
        ("GET", "/datastore/image"),
        ("GET", "/datastore/label?label=case 0"),
        ("HEAD", "/datastore/image?image=case 0&check_sum=CRC:1"),
        ("GET", "/datastore/dataset?limit_cases=x"),
        ("GET", "/datastore/dataset?limit_cases=-1"),
        ("GET", "/train/?all=x"),
        ("PUT", "/datastore/image"),
        ("PUT", "/datastore/label?image=case 0"),
        ("PUT", "/session/"),
        ("PUT", "/session/?uncompress=true"),
        ("POST", f"/infer/{NAME}"),
        ("POST", f"/infer/{NAME}?image=case 0&output=dicom_seg"),
        ("POST", f"/infer/{NAME}?image=case 0&output=x"),
        ("POST", f"/batch/infer/{NAME}?images=x"),
        ("POST", f"/train/{NAME}?run_sync=x"),
        ("POST", "/infer/%2e%2e%2fx?image=case 0"),
        ("PATCH", "/train/"),
    ],
)
def test_addresses_and_queries_that_are_wrong_are_refused(method, address, place):
    assert refused(place.send(method, address), 400, 404, 405)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "multipart/form-data; boundary=x; charset=none",
    ],
)
@pytest.mark.parametrize(
    "body", [b"{}", b"--x\r\n\r\n", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n", b"\xff\0"]
)
def test_broken_forms_are_refused(kind, body, place):
    for method, address in (
        ("POST", f"/infer/{NAME}?image=nobody"),
        ("PUT", "/datastore/image?image=new"),
        ("PUT", "/session/"),
    ):
        assert refused(place.send(method, address, data=body, headers={"Content-Type": kind}))


def test_a_form_with_a_field_twice_is_refused(place):
    params = [("params", (None, "{}")), ("params", (None, json.dumps({"run_id": "x"})))]
    assert refused(place.send("POST", f"/infer/{NAME}?image=case 0", files=params))


def test_addresses_that_no_client_library_sends_are_answered(place):
    host, port = place.url.removeprefix("http://").split(":")
    for line in (
        b"GET /session/.. HTTP/1.1",
        b"GET /ohif/../../../etc/passwd HTTP/1.1",
        b"GET /static/../../x HTTP/1.1",
        b"GET /%00 HTTP/1.1",
        b"GET /datastore/image?image=%ff HTTP/1.1",
    ):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = connection.makefile("rb").read()
        assert answer.split()[1] in (b"200", b"400", b"404")  # 200: the page of a viewer
        assert b"root:" not in answer


@pytest.mark.parametrize("extension", [".png", ".bmp", ".jpg", None])
def test_a_mask_is_not_asked_for_in_numbers_that_its_file_cannot_hold(extension, place):
    params = {"result_extension": extension, "result_dtype": "float32"}
    assert refused(place.send("POST", f"/infer/{NAME}", params=IMAGE, data={"params": json.dumps(params)}))


def test_an_upload_that_is_no_picture_is_not_named_by_its_place_on_the_server(place):
    answer = place.send("POST", f"/infer/{NAME}", files={"file": ("a.png", b"broken")})
    assert refused(answer)
    assert "the uploaded image cannot be read" in answer.json()["detail"]


@pytest.mark.honest
def test_an_address_without_its_slash_is_corrected(place):
    assert place.send("GET", "/info").ok


@pytest.mark.honest
def test_what_the_server_offers_may_be_sent_back(place):
    info = place.send("GET", "/info/").json()
    infer = place.send(
        "POST", f"/infer/{NAME}?image=case 1&output=json", data={"params": json.dumps(info["models"][NAME]["config"])}
    )
    assert infer.ok, infer.text
    train = {
        **info["trainers"][NAME]["config"],
        "max_epochs": 1,
        "alignment_epochs": 1,
        "val_split": 0,
        "mlflow": False,
    }
    for content, address in ((train, f"/train/{NAME}?run_sync=true"), ({NAME: train}, "/train/?run_sync=true")):
        assert place.send("POST", address, json=content).ok
    assert place.send("POST", "/activelearning/random", json={"client_id": None}).ok
    assert place.send("POST", f"/scoring/{NAME}?run_sync=true", json={"device": "cpu"}).ok
    batch = {
        "device": "cuda",
        "multi_gpu": True,
        "gpus": "all",
        "logging": "WARNING",
        "save_label": True,
        "label_tag": "original",
        "max_workers": 1,
        "max_batch_size": 2,
    }
    assert place.send("POST", f"/batch/infer/{NAME}?run_sync=true", json=batch).ok


@pytest.mark.honest
def test_viewers_get_their_masks(place):
    slicer = {"result_extension": ".nrrd", "result_dtype": "uint8", "client_id": "user-xyz", "device": "cpu"}
    ohif = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False, "restore_label_idx": False}
    cvat = {"output": "json", "client_id": None}
    for params in (slicer, ohif):
        answer = place.send("POST", f"/infer/{NAME}?image=case 1&output=image", data={"params": json.dumps(params)})
        assert answer.content.startswith(b"NRRD")
    upload = {"file": ("frame.png", picture())}
    assert place.send("POST", f"/infer/{NAME}?image=", data={"params": json.dumps(cvat)}, files=upload).ok
    qupath = {
        "level": 0,
        "location": [0, 0],
        "size": [0, 0],
        "tile_size": [1024, 1024],
        "min_poly_area": 30,
        "params": {"foreground": [], "background": [], "max_workers": 1},
    }
    assert place.send("POST", f"/infer/wsi/{NAME}?output=json&image=case 1", json=qupath).json()["trained"] is True


@pytest.mark.honest
def test_the_client_of_monai_label_works(place, tmp_path):
    client = MONAILabelClient(place.url, tmpdir=str(tmp_path), client_id="user@host")
    (tmp_path / "new image.png").write_bytes(picture())
    file = str(tmp_path / "new image.png")
    assert client.upload_image(file, "Fundus-07 é")["image"] == "Fundus-07 é"
    assert client.save_label("Fundus-07 é", file, tag="final", params={"label_info": [{"name": "polyp", "idx": 1}]})
    assert client.datastore()["objects"]["Fundus-07 é"]["labels"]["final"]["info"]["label_info"]
    assert Image.open(client.download_label("Fundus-07 é", "final")).size == ODD
    assert client.infer(NAME, "Fundus-07 é", {"device": "cpu"})[1]["trained"] is True
    session = client.create_session(file)["session_id"]
    assert client.infer(NAME, "", {}, session_id=session)[1]["trained"] is True
    assert client.get_session(session) and client.remove_session(session)
    assert client.next_sample("random", {})["id"]
    assert place.send("DELETE", "/datastore/image", params={"id": "Fundus-07 é"}).ok


@pytest.mark.honest
def test_the_two_unicode_forms_of_a_name_are_one_image(place):
    for name in ("no\u0308rd", "n\u00f6rd", "n\u00f6rd"):
        answer = place.send("PUT", "/datastore/image", params={"image": name}, files={"file": ("a.png", picture())})
    assert answer.ok
    names = [name for name in place.send("GET", "/datastore/?output=all").json()["objects"] if name.endswith("rd")]
    assert names == ["n\u00f6rd"]
