"""Trainings as MONAI Label 0.8.5 starts them, without a server."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import monai.bundle
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

from custom.error_causes import find_input_error
from custom.monai_label import is_trained, reset_weights
from custom.monai_label.command import add_bundle
from custom.networks import load_model, model_details
from tests.bundles.conftest import ROOT
from tests.conftest import KL
from tests.monai_label.conftest import SERVER, fake_server

SIZE = {"image_size": 32, "width": 4, "network_def#mapper_width": 8}
SEED = 42  # of train.yaml

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")  # MONAI: only trusted ones, please


class Studies(NamedTuple):
    """Images of a datastore as MONAI Label hands them over."""

    labelled: list[dict[str, str]]
    validation: list[dict[str, str]]
    unlabelled: dict[str, str]


class Training(NamedTuple):
    """What a training left: the bundle, the run's folder, and which picture files were opened."""

    bundle: Path
    run: Path
    opened: set[str]


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A datastore's folder: final labels of a to d, and a preliminary one of e that is no picture at all."""
    folder = tmp_path_factory.mktemp("studies")
    for kind in ("final", "original"):
        (folder / "labels" / kind).mkdir(parents=True)
    for number, name in enumerate("abcdef"):
        image = np.random.default_rng(number).integers(0, 100, (32, 32), np.uint8)
        image[8 : 20 + number, 10:24] += 100
        Image.fromarray(image).save(folder / f"{name}.png")
        if name <= "d":
            Image.fromarray((image >= 100).astype(np.uint8)).save(folder / "labels" / "final" / f"{name}.png")
    (folder / "labels" / "original" / "e.png").write_text("a prediction")
    items = [{"image": f"{folder}/{name}.png", "label": f"{folder}/labels/final/{name}.png"} for name in "abcd"]
    return Studies(items[:3], items[3:], {name: f"{folder}/{name}.png" for name in "ef"})


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A tiny new bundle of an app."""
    app = tmp_path_factory.mktemp("app")
    return add_bundle(ROOT / "bundles" / "semigda_busi", app, settings={"first_stage": KL, **SIZE})


@pytest.fixture(scope="module")
def trained(untrained, studies, tmp_path_factory):
    """The first training of the bundle."""
    bundle = copy_of(untrained, tmp_path_factory.mktemp("trained"))
    return train(bundle, studies, max_epochs=3)


def copy_of(bundle, folder):
    """The bundle without its code: that of the repository is running."""
    ignore = shutil.ignore_patterns("custom", "first_stages", "checkpoints")
    return Path(shutil.copytree(bundle, folder / bundle.name, ignore=ignore))


def raw_handlers(bundle):
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "train.json"))
    return parser.get("train#handlers")


def train(bundle, studies, run_id="run", max_epochs=1, **options):
    """Do what MONAI Label's `BundleTrainTask` does for a request, but leave pytest's logging alone."""
    before, opened, open_picture = set(bundle.glob("runs/*")), set(), Image.open

    def note_and_open(path, *arguments, **more):
        opened.add(str(path))
        return open_picture(path, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, SERVER, fake_server(studies.unlabelled))
        patch.setattr(sys, "path", [str(bundle), *sys.path])
        patch.setattr(Image, "open", note_and_open)
        monai.bundle.run(
            run_id=run_id,
            init_id=None,
            final_id=None,
            meta_file=str(bundle / "configs" / "metadata.json"),
            config_file=str(bundle / "configs" / "train.json"),
            logging_file=False,
            **{
                "bundle_root": str(bundle),
                "train#trainer#max_epochs": max_epochs,
                "train#dataset#data": studies.labelled,
                "device": "cpu",
                "train#handlers": raw_handlers(bundle),
                "validate#dataset#data": studies.validation,
                "mlflow": False,
                **options,
            },
        )
    (run,) = set(bundle.glob("runs/*")) - before
    return Training(bundle, run, opened)


def published(bundle):
    return bundle / "models" / "model.pt"


def epochs(run):
    """The last epoch of each stage that was run."""
    with open(run / "metrics.csv") as file:
        return {row["stage"]: int(row["epoch"]) for row in csv.DictReader(file)}


def figures(run):
    with open(run / "metrics.csv") as file:
        return {row["name"] for row in csv.DictReader(file)}


def weights(network):
    return {name: value.detach() for name, value in network.named_parameters() if value.requires_grad}


def equal(first, second):
    """Names of the weights that are the same but for steps at a learning rate of 1e-30."""
    return [name for name in first if torch.allclose(first[name], second[name], rtol=0, atol=1e-25)]


def test_the_first_training_runs_both_stages_and_publishes_a_trained_model(untrained, trained):
    assert set(epochs(trained.run)) == {"alignment", "segmentation"}
    assert not is_trained(published(untrained))
    assert is_trained(published(trained.bundle))
    assert [path.name for path in published(trained.bundle).parent.iterdir()] == ["model.pt"]
    assert published(trained.bundle).read_bytes() == (trained.run / "model.pt").read_bytes()
    before, after = load_model(published(untrained)), load_model(published(trained.bundle))
    assert not equal(weights(before), weights(after))
    first_stages = [network.first_stage.state_dict() for network in (before, after)]
    assert len(equal(*first_stages)) == len(first_stages[0])


def test_the_epochs_asked_for_are_those_of_the_segmentation(trained):
    assert epochs(trained.run) == {"alignment": 2, "segmentation": 3}


def test_the_model_holds_what_it_was_trained_on(trained):
    expected = {"labelled": 3, "unlabelled": 2, "image_size": 32, "segmentation_epochs": 3, "alignment_epochs": 2}
    assert model_details(published(trained.bundle)).items() >= expected.items()


def test_labels_of_unlabelled_images_are_never_opened(studies, trained):
    used = [path for item in (*studies.labelled, *studies.validation) for path in item.values()]
    assert trained.opened == {*used, *studies.unlabelled.values()}


def test_monai_label_adds_no_loading_of_its_own_to_the_handlers(untrained):
    assert "CheckpointLoader" in [handler["_target_"] for handler in raw_handlers(untrained)]


def test_a_further_training_continues_from_the_published_model_with_the_segmentation_alone(studies, trained, tmp_path):
    bundle = copy_of(trained.bundle, tmp_path)
    before = weights(load_model(published(bundle)))
    run = train(bundle, studies, learning_rate=1e-30).run
    assert run.name == f"{trained.run.name}-2"
    assert epochs(run) == {"segmentation": 1}
    assert len(equal(before, weights(load_model(published(bundle))))) == len(before)


def test_a_training_from_scratch_starts_from_new_weights(studies, trained, tmp_path):
    bundle = copy_of(trained.bundle, tmp_path)
    network = load_model(published(bundle))
    rates = dict.fromkeys(
        ("learning_rate", "align#trainer#mapper_learning_rate", "align#trainer#encoder_learning_rate"), 1e-30
    )
    run = train(bundle, studies, run_id="from_scratch", **rates).run
    assert set(epochs(run)) == {"alignment", "segmentation"}
    reset_weights(network, SEED)
    new = weights(network)
    assert len(equal(new, weights(load_model(published(bundle))))) == len(new)


def test_without_validation_images_the_last_weights_are_published(untrained, studies, tmp_path):
    training = train(copy_of(untrained, tmp_path), studies._replace(validation=[]), max_epochs=2)
    last = torch.load(training.run / "checkpoints" / "segmentation_checkpoint.pt", weights_only=True)
    assert last["trainer"]["epoch"] == 2
    state = load_model(published(training.bundle)).trainable_state_dict()
    assert len(equal(last["network"], state)) == len(state)
    assert not any(name.startswith("validation") for name in figures(training.run))


def test_one_label_suffices(untrained, studies, tmp_path):
    training = train(copy_of(untrained, tmp_path), studies._replace(labelled=studies.labelled[:1]))
    assert is_trained(published(training.bundle))
    assert {"mixed_image_branch", "consistency_image_branch"} <= figures(training.run)


def test_a_datastore_without_unlabelled_images_is_trained_on_its_labels(untrained, studies, tmp_path):
    training = train(copy_of(untrained, tmp_path), studies._replace(unlabelled={}))
    assert is_trained(published(training.bundle))
    assert not {"mixed_image_branch", "consistency_image_branch"} & figures(training.run)


def test_a_training_that_fails_leaves_the_model_and_its_note(untrained, studies, tmp_path):
    bundle = copy_of(untrained, tmp_path)
    (tmp_path / "broken.png").write_text("no picture")
    broken = [*studies.labelled, {**studies.labelled[0], "label": str(tmp_path / "broken.png")}]
    with pytest.raises(Exception) as error:  # MONAI wraps it
        train(bundle, studies._replace(labelled=broken))
    assert "broken.png" in str(find_input_error(error.value))
    assert published(bundle).read_bytes() == published(untrained).read_bytes()
    assert not is_trained(published(bundle))
