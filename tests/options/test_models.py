from __future__ import annotations

import json

import pytest
from torch import zeros
from torch.nn import Parameter
from torch.optim import SGD

from custom.errors import InputError
from custom.labels import LabelCodec
from custom.losses import ConsistencyWeight
from custom.networks.latent_diffusion import LatentDiffusion
from custom.networks.skip_adapters import SkipAdapters
from custom.optimizers import PolynomialRestarts
from custom.options import TrainingOptions, check_values
from custom.phantoms.dataset import MODALITIES
from tests.bundles.conftest import ROOT
from tests.options.conftest import CLASSES, CONFIGS
from tests.options.samples import samples, words_of

NO_OPTIONS = set(
    "imports initialize run finalize training alignment segmentation autoencoder run_session from_scratch data load "  # noqa: SIM905
    "model_details starting_details network_def network alignment_val_codec optimizer optimizers lr_scheduler "
    "lr_schedulers align train validate test details tracker session preprocessing postprocessing dataset dataloader "
    "inferer report evaluator handlers phantom labels_only".split()
)
FILES = sorted(path for path in ROOT.glob("bundles/*/configs/**/*.json") if path.name != "metadata.json")


def options_of(path):
    return CLASSES.get(path.name, TrainingOptions)


def keys_of(path):
    keys = (key for key in json.loads(path.read_text()) if "#" not in key and not key.startswith("+"))
    return [key for key in keys if key not in NO_OPTIONS]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parents[1].name}/{path.parent.name}/{path.name}")
def test_every_key_of_a_configuration_is_an_option_whose_own_value_is_right(path):
    content = json.loads(path.read_text())
    values = {key: content[key] for key in keys_of(path)}
    assert set(values) <= options_of(path).__annotations__.keys()
    plain = {key: value for key, value in values.items() if not str(value).startswith(("$", "@"))}
    assert check_values(options_of(path), plain) == plain


@pytest.mark.parametrize("config", CLASSES)
def test_every_option_is_a_key_of_its_configuration_or_of_an_overlay(config):
    overlays = [path for path in CONFIGS.rglob("*.json") if path.name not in (*CLASSES, "metadata.json")]
    overlays += list((CONFIGS / "monai_label").glob("*.json"))
    files = [CONFIGS / config, *(overlays if config == "train.json" else [])]
    assert set(CLASSES[config].__annotations__) == {key for file in files for key in keys_of(file)}


CASES = [
    pytest.param(options, key, id=f"{config}-{key}")
    for config, options in CLASSES.items()
    for key in options.__annotations__
]


@pytest.mark.parametrize(("options", "key"), CASES)
def test_an_option_takes_what_its_message_asks_for_and_nothing_else(options, key, message_of):
    right, wrong = samples(words_of(options, key))
    for text in right:
        check_values(options, {key: text})
    for text in wrong:
        with pytest.raises(ValueError, match="give ") as error:
            check_values(options, {key: text})
        assert message_of(error).startswith(f"{key} ")


@pytest.mark.parametrize(("options", "key"), CASES)
def test_an_option_refuses_what_no_command_line_can_type(options, key):
    for value in (object(), float("nan"), b"x", [[]], {1, 2}):
        with pytest.raises(ValueError, match="give "):
            check_values(options, {key: value})


def test_a_key_that_is_no_option_is_refused():
    with pytest.raises(ValueError, match="learning_rat is no option"):
        check_values(TrainingOptions, {"learning_rat": 1})


@pytest.mark.parametrize(("path", "expanded"), [("~/data", "/home/me/data"), ("~", "/home/me"), ("a/~", "a/~")])
def test_the_home_folder_is_put_in_place_of_a_tilde(path, expanded, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for key in ("dataset_dir", "datalist", "runs_dir", "output_dir", "first_stage", "initial_weights"):
        assert check_values(TrainingOptions, {key: path}) == {key: expanded}


def test_a_home_folder_that_monai_would_evaluate_is_refused(monkeypatch):
    monkeypatch.setenv("HOME", "$print(1)")
    with pytest.raises(ValueError, match="dataset_dir ~/x: give a path"):
        check_values(TrainingOptions, {"dataset_dir": "~/x"})


@pytest.mark.parametrize("value", ["52", 52, "052"])
def test_a_count_of_labelled_images_is_a_number(value):
    assert check_values(TrainingOptions, {"labelled": value}) == {"labelled": 52}


@pytest.mark.parametrize("value", ["all", "10%", "100 %", "fold 1"])
def test_other_words_for_labelled_images_stay_as_they_are(value):
    assert check_values(TrainingOptions, {"labelled": value}) == {"labelled": value}


def test_negative_zero_becomes_zero():
    assert str(check_values(TrainingOptions, {"momentum": "-0.0"})["momentum"]) == "0.0"


CHOICES = [
    (lambda word: ConsistencyWeight(ramp=word), "alignment_ramp"),
    (lambda word: ConsistencyWeight(ramp=word), "segmentation_ramp"),
    (lambda word: PolynomialRestarts(SGD([Parameter(zeros(1))], lr=1), 4, restart=word), "lr_restart"),
    (lambda word: LabelCodec(2, divisor=word), "label_divisor"),
    (lambda word: LabelCodec(2, value_range=word), "label_range"),
    (lambda word: LatentDiffusion(sampler=word), "sampler"),
    (lambda word: SkipAdapters([4], [4], init=word), "adapter_init"),
]


@pytest.mark.parametrize(("make", "key"), CHOICES, ids=[key for _, key in CHOICES])
def test_the_words_to_choose_from_are_those_that_the_code_knows(make, key):
    right, _ = samples(words_of(TrainingOptions, key))
    for word in right:
        make(word)
    with pytest.raises(InputError):
        make("foo")


def test_the_modalities_are_those_of_the_phantoms():
    assert samples(words_of(TrainingOptions, "phantom_modality"))[0] == list(MODALITIES)
