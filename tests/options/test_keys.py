from __future__ import annotations

import pytest
from monai.bundle import ConfigParser
from torch import zeros
from torch.nn import Parameter
from torch.optim import SGD

from custom.errors import InputError
from custom.labels import LabelCodec, make_label_codec
from custom.losses import ConsistencyWeight
from custom.networks.latent_diffusion import LatentDiffusion
from custom.networks.skip_adapters import SkipAdapters
from custom.optimizers import PolynomialRestarts
from custom.options import COMMANDS, check_values
from custom.options.keys import PARTS
from custom.options.parts import value_at
from custom.phantoms import MODALITIES
from tests.bundles.conftest import ROOT
from tests.options.conftest import CONFIGS, OVERLAYS
from tests.options.samples import samples, words_of

FILES = sorted([*ROOT.glob("bundles/*/configs/*.yaml"), *OVERLAYS.rglob("*.yaml")])


def command_of(path):
    return path.stem if path.stem in COMMANDS else "train"


def keys_of(path):
    """Keys of a file that are options, with "#" too."""
    return [key for key in ConfigParser.load_config_file(path) if not key.startswith("+") and key not in PARTS]


def name_of(path):
    return "/".join(path.relative_to(ROOT).parts[1:])


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_key_of_a_configuration_is_an_option_whose_own_value_is_right(path):
    content = ConfigParser.load_config_file(path)
    plain = [key for key in keys_of(path) if "#" not in key]
    kinds = COMMANDS[command_of(path)]
    assert set(plain) <= kinds.keys()
    values = {key: content[key] for key in content if key in kinds}
    values |= {key: value_at(content, key) for key in kinds if value_at(content, key) is not None}
    values = {key: value for key, value in values.items() if not str(value).startswith(("$", "@"))}
    assert check_values(command_of(path), values) == values


@pytest.mark.parametrize("command", COMMANDS)
def test_every_plain_option_is_a_key_of_its_configuration_or_of_an_overlay(command):
    files = [CONFIGS / f"{command}.yaml"]
    files += [CONFIGS / "quickstart.yaml", *OVERLAYS.rglob("*.yaml")] if command == "train" else []
    keys = {key for file in files for key in keys_of(file) if "#" not in key}
    assert {key for key in COMMANDS[command] if "#" not in key} == keys


CASES = [pytest.param(command, key, id=f"{command}-{key}") for command, kinds in COMMANDS.items() for key in kinds]


@pytest.mark.parametrize(("command", "key"), CASES)
def test_an_option_takes_what_its_message_asks_for_and_nothing_else(command, key, message_of):
    right, wrong = samples(words_of(command, key))
    for text in right:
        check_values(command, {key: text})
    for text in wrong:
        with pytest.raises(ValueError, match="give ") as error:
            check_values(command, {key: text})
        assert message_of(error).startswith(f"{key} ")


@pytest.mark.parametrize(("command", "key"), CASES)
def test_an_option_refuses_what_no_command_line_can_type(command, key):
    for value in (object(), float("nan"), b"x", [[]], {1, 2}):
        with pytest.raises(ValueError, match="give "):
            check_values(command, {key: value})


def test_a_key_that_is_no_option_is_refused():
    with pytest.raises(ValueError, match="learning_rat is no option"):
        check_values("train", {"learning_rat": 1})


@pytest.mark.parametrize(("path", "expanded"), [("~/data", "/home/me/data"), ("~", "/home/me"), ("a/~", "a/~")])
def test_the_home_folder_is_put_in_place_of_a_tilde(path, expanded, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for key in ("dataset_dir", "datalist", "runs_dir", "output_dir", "first_stage", "initial_weights"):
        assert check_values("train", {key: path}) == {key: expanded}


def test_a_home_folder_that_monai_would_evaluate_is_refused(monkeypatch):
    monkeypatch.setenv("HOME", "$print(1)")
    with pytest.raises(ValueError, match="dataset_dir ~/x: give a path"):
        check_values("train", {"dataset_dir": "~/x"})


@pytest.mark.parametrize("value", ["52", 52, "052"])
def test_a_count_of_labelled_images_is_a_number(value):
    assert check_values("train", {"labelled": value}) == {"labelled": 52}


@pytest.mark.parametrize("value", ["all", "10%", "100 %", "fold 1"])
def test_other_words_for_labelled_images_stay_as_they_are(value):
    assert check_values("train", {"labelled": value}) == {"labelled": value}


def test_negative_zero_becomes_zero():
    assert str(check_values("train", {"optimizer#momentum": "-0.0"})["optimizer#momentum"]) == "0.0"


CHOICES = [
    (lambda word: ConsistencyWeight(ramp=word), "align#trainer#consistency_weight#ramp"),
    (lambda word: ConsistencyWeight(ramp=word), "train#trainer#consistency_weight#ramp"),
    (lambda word: PolynomialRestarts(SGD([Parameter(zeros(1))], lr=1), 4, restart=word), "lr_scheduler#restart"),
    (lambda word: LabelCodec(2, divisor=word), "network_def#label_divisor"),
    (lambda word: LabelCodec(2, value_range=word), "network_def#label_range"),
    (lambda word: make_label_codec(word, 3), "network_def#label_code"),
    (lambda word: LatentDiffusion(sampler=word), "network_def#sampler"),
    (lambda word: SkipAdapters([4], [4], init=word), "network_def#adapter_init"),
]


@pytest.mark.parametrize(("make", "key"), CHOICES, ids=[key for _, key in CHOICES])
def test_the_words_to_choose_from_are_those_that_the_code_takes(make, key):
    right, _ = samples(words_of("train", key))
    for word in right:
        make(word)
    with pytest.raises(InputError):
        make("foo")


def test_the_modalities_are_those_of_the_phantoms():
    assert samples(words_of("train", "phantom#modality"))[0] == list(MODALITIES)
