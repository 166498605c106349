from __future__ import annotations

import ast
import json

import pytest
import torch
from monai.bundle import ConfigParser

from custom.errors import InputError
from custom.monai_label import is_trained
from custom.monai_label.command import main
from custom.networks import load_model, model_details, save_model
from tests.bundles.conftest import ROOT
from tests.conftest import KL

BUNDLE = ROOT / "bundles" / "semigda_busi"


@pytest.fixture
def app(tmp_path):
    return tmp_path / "app"


@pytest.fixture
def first_stage(tmp_path):
    """A tiny first stage, as a file."""
    path = tmp_path / "first_stage.json"
    path.write_text(json.dumps(KL))
    return path


@pytest.fixture
def checkpoint(make_network, tmp_path):
    """The model of a run."""
    path = tmp_path / "run" / "model.pt"
    save_model(make_network("tiny"), path, {"image_size": 64})
    return path


def add(app, *options, bundle=BUNDLE):
    main(["--app", str(app), "--bundle", str(bundle), *map(str, options)])
    return app / "model" / bundle.name


def refusal(message_of, app, *options, bundle=BUNDLE):
    with pytest.raises(InputError) as error:
        add(app, *options, bundle=bundle)
    return message_of(error)


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_app_holds_what_monai_label_reads(app, checkpoint, capsys):
    place = add(app, "--checkpoint", checkpoint)
    printed = capsys.readouterr().out
    assert f"bundle written to {place}" in printed
    assert f"monailabel start_server --app {app} --studies" in printed
    assert sorted(path.name for path in app.iterdir()) == ["README.md", "main.py", "model"]
    classes = [node.name for node in ast.parse((app / "main.py").read_text()).body if isinstance(node, ast.ClassDef)]
    assert classes == ["App"]
    assert not list((place / "configs").glob("*.yaml"))
    outputs = json.loads((place / "configs" / "metadata.json").read_text())["network_data_format"]["outputs"]
    assert outputs["pred"]["channel_def"] == {"0": "background", "1": "lesion"}


def test_a_runs_model_is_the_servers_and_counts_as_trained(app, checkpoint):
    model = add(app, "--checkpoint", checkpoint) / "models" / "model.pt"
    assert model.read_bytes() == checkpoint.read_bytes()
    assert is_trained(model)


def test_without_a_checkpoint_the_model_is_new_and_as_the_options_say(app, first_stage):
    options = {"--image-size": 32, "--num-classes": 3, "--width": 4, "--mapper-width": 8}
    place = add(app, "--first-stage", first_stage, *(word for option in options.items() for word in option))
    model = place / "models" / "model.pt"
    assert not is_trained(model)
    architecture = load_model(model).architecture
    assert {key: architecture[key] for key in ("num_classes", "width", "mapper_width")} == {
        "num_classes": 3,
        "width": 4,
        "mapper_width": 8,
    }
    train = ConfigParser.load_config_file(BUNDLE / "configs" / "train.yaml")
    expected = {"image_size": 32, "first_stage": "first_stage.json"} | {key: train[key] for key in ("method", "preset")}
    assert model_details(model) == expected


def test_the_seed_decides_a_new_models_weights(tmp_path, first_stage):
    weights = []
    for number, seed in enumerate((1, 1, 2)):
        options = ("--first-stage", first_stage, "--width", 4, "--mapper-width", 8, "--seed", seed)
        model = add(tmp_path / f"app{number}", *options) / "models" / "model.pt"
        weights.append(load_model(model).latent_mapper.state_dict())
    first, again, other = ([value for value in state.values() if value.dim() > 1] for state in weights)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


def test_several_bundles_fit_into_one_app(app, checkpoint):
    first = content(add(app, "--checkpoint", checkpoint))
    add(app, "--checkpoint", checkpoint, bundle=BUNDLE.with_name("semigda_isic"))
    assert sorted(path.name for path in (app / "model").iterdir()) == ["semigda_busi", "semigda_isic"]
    assert content(app / "model" / "semigda_busi") == first


@pytest.mark.parametrize("option", ["--width", "--image-size", "--seed"])
def test_a_checkpoint_takes_no_settings(option, app, checkpoint, message_of):
    message = refusal(message_of, app, "--checkpoint", checkpoint, option, 8)
    assert f"{option} is for an untrained model" in message
    assert not app.exists()


@pytest.mark.parametrize("trained", [True, False])
def test_a_folder_without_a_bundle_is_refused(trained, app, checkpoint, tmp_path, message_of):
    options = ["--checkpoint", checkpoint] if trained else []
    message = refusal(message_of, app, *options, bundle=tmp_path / "elsewhere")
    assert f"{tmp_path / 'elsewhere'} is not a bundle" in message
    assert not app.exists()


def test_a_missing_first_stage_is_named(app, tmp_path, message_of):
    folder = tmp_path / "empty"
    folder.mkdir()
    assert f"first_stage {folder}" in refusal(message_of, app, "--first-stage", folder)
    assert not app.exists()


def test_a_bundle_that_is_there_is_replaced_only_on_request(app, checkpoint, first_stage, message_of):
    place = add(app, "--first-stage", first_stage, "--width", 4, "--mapper-width", 8)
    before = content(app)
    assert f"{place} is there already" in refusal(message_of, app, "--checkpoint", checkpoint)
    assert content(app) == before
    add(app, "--checkpoint", checkpoint, "--overwrite")
    assert (place / "models" / "model.pt").read_bytes() == checkpoint.read_bytes()
    assert is_trained(place / "models" / "model.pt")


def test_a_bundle_that_the_app_has_trained_is_never_replaced(app, checkpoint, message_of):
    place = add(app, "--checkpoint", checkpoint)
    (place / "runs").mkdir()
    before = content(app)
    assert str(place) in refusal(message_of, app, "--checkpoint", checkpoint, "--overwrite")
    assert content(app) == before


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
@pytest.mark.parametrize("name", ["README.md", "main.py"])
def test_a_folder_that_is_no_app_keeps_its_files(name, options, app, checkpoint, message_of):
    app.mkdir()
    (app / name).write_text("mine")
    assert str(app / name) in refusal(message_of, app, "--checkpoint", checkpoint, *options)
    assert content(app) == {app / name: b"mine"}
    assert not (app / "model").exists()


def test_a_model_with_other_classes_than_the_bundle_names_them_by_number(app, first_stage):
    add(app, "--first-stage", str(first_stage), "--num-classes", "3", "--width", "4", "--mapper-width", "8")
    metadata = json.loads((app / "model" / BUNDLE.name / "configs" / "metadata.json").read_text())
    names = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert names == {"0": "background", "1": "class 1", "2": "class 2"}
