"""The datastore by itself, and a training task that is handed what no server would let pass."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
from PIL import Image

pytest.importorskip(
    "monailabel", reason="MONAI Label is not installed in this environment; .ci/run tests it in its own"
)

from fastapi import HTTPException

from custom.errors import InputError
from custom.monai_label.command import add_bundle
from custom.monai_label.datastore import CheckedDatastore
from custom.networks import SemiGDA, save_model
from tests.monai_label.clients import BUNDLE, NETWORK


@pytest.fixture
def studies(tmp_path):
    """A folder with one image, and a picture beside it."""
    (tmp_path / "studies").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "studies" / "a.png")
    Image.new("L", (8, 8), 1).save(tmp_path / "outside.png")
    return tmp_path / "studies"


def opened(studies):
    return CheckedDatastore(str(studies), extensions=["*.png"])


def test_hidden_files_pipes_and_odd_names_are_passed_over(studies):
    for name in ("._a.png", ".b.png", "$x.png", "a::b.png", "new\nline.png", os.fsdecode(b"bad\xff.png")):
        Image.new("L", (8, 8)).save(studies / name, "png")
    os.mkfifo(studies / "pipe.png")
    assert opened(studies).list_images() == ["a"]


def test_a_suffix_within_a_name_stays_there(studies):
    Image.new("L", (8, 8)).save(studies / "b.png.c.png")
    store = opened(studies)
    assert set(store.list_images()) == {"a", "b.png.c"}
    assert store.get_image_uri("b.png.c") == str(studies / "b.png.c.png")


def test_a_list_that_leads_out_of_the_folder_is_cut(studies):
    entry = {"image": {"ext": ".png"}, "labels": {"../..": {"ext": ".png"}}}
    objects = {"../outside": entry, str(studies.parent / "outside"): entry, "a": entry}
    content = {"name": "", "description": "", "images_dir": "/", "labels_dir": "..", "objects": objects}
    (studies / "datastore_v2.json").write_text(json.dumps(content))
    store = opened(studies)
    assert store.list_images() == ["a"]
    assert store.get_image_uri("a") == str(studies / "a.png")
    assert store.get_labels_by_image_id("a") == {}


def test_links_are_read_and_never_written_through(studies):
    outside = studies.parent / "outside.png"
    os.symlink(outside, studies / "linked.png")
    store, before = opened(studies), outside.read_bytes()
    assert store.get_image_uri("linked") == str(outside)
    for change in (lambda: store.remove_image("linked"), lambda: store.add_image("linked", str(studies / "a.png"), {})):
        with pytest.raises(HTTPException, match="link"):
            change()
    assert outside.read_bytes() == before
    assert (studies / "linked.png").is_symlink()


def test_a_folder_of_labels_that_is_a_link_is_not_written_to(studies):
    elsewhere = studies.parent / "elsewhere"
    elsewhere.mkdir()
    (studies / "labels").mkdir()
    os.symlink(elsewhere, studies / "labels" / "mine")
    with pytest.raises(HTTPException, match="link"):
        opened(studies).save_label("a", str(studies / "a.png"), "mine", {})
    assert not list(elsewhere.iterdir())


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    from custom.monai_label.server import SemiGDATrainTask

    folder = tmp_path_factory.mktemp("task")
    save_model(SemiGDA(**NETWORK), folder / "model.pt", {"image_size": 32})
    return SemiGDATrainTask(str(add_bundle(BUNDLE, folder / "app", checkpoint=folder / "model.pt")), {})


@pytest.mark.parametrize("key", ["use_unlabelled", "tracking_run_name", "max_epochs", "train#trainer", "device"])
def test_a_training_process_refuses_what_its_server_did_not(key, task):
    """The server hands a request to a process of its own, as JSON on its command line."""
    with pytest.raises(InputError, match=key):
        task({"model": "semigda_polyp", key: "$1 / 0"}, SimpleNamespace(datalist=list))


@pytest.mark.parametrize("name", ["$1 / 0.png", "@network", "a@##b.png"])
def test_nothing_is_handed_to_the_configuration_that_it_would_evaluate(name, task):
    task._options = {}
    with pytest.raises(InputError, match="evaluated"):
        task._update_overrides({"train#handlers": [], "train#dataset#data": [{"image": name, "label": "/b.png"}]})


def test_words_of_monai_label_for_tracking_become_keys_of_the_bundle(task, monkeypatch):
    overrides = {}
    monkeypatch.setattr(type(task), "run_single_gpu", lambda self, request, found: overrides.update(found))
    request = {"model": "semigda_polyp", "tracking": ["mlflow"], "tracking_run_name": "first", "val_split": 0}
    task({**request, "tracking_experiment_name": "polyps"}, SimpleNamespace(datalist=list))
    expected = {"mlflow": True, "run_name": "first", "tracker#experiment_name": "polyps"}
    assert expected.items() <= overrides.items()
    assert not {"tracking", "tracking_uri", "experiment_name", "train#handlers"} & overrides.keys()


def test_options_of_a_request_are_keys_of_the_bundle_with_its_values(task):
    from custom.monai_label.allowed import TrainOptions
    from custom.monai_label.server import OPTIONS

    values = {key: task.bundle_config.get(key) for key in OPTIONS}
    assert values["use_unlabelled"] is True
    assert None not in values.values()
    offered = task.config()
    assert {key: offered[key] or values[key] for key in OPTIONS} == values  # "" for an expression
    assert set(OPTIONS) <= TrainOptions.model_fields.keys()
