from __future__ import annotations

import json
import sys

import pytest

from custom.errors import InputError
from custom.options import check_command_line

BASE = {
    "imports": ["$import os"],
    "dataset_dir": "data",
    "epochs": 3,
    "resume": False,
    "train": {"optimizer": {"lr": 0.1}, "handlers": [{"interval": 1}]},
    "training": ["$print(@epochs)"],
    "run": ["$print(@epochs)"],
}


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def base(tmp_path):
    return write(tmp_path / "base.json", BASE)


def check(base, *arguments):
    return check_command_line(["run", "--config_file", base, *arguments])


def refusal(base, *arguments):
    with pytest.raises(InputError) as error:
        check(base, *arguments)
    return str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--dataset_dir", "elsewhere"],
        ["--dataset_dir=a=b"],
        ["--resume"],
        ["--resume", "--epochs", "5"],
        ["--epochs", "-1"],
        ["--train#optimizer#lr", "0.5"],
        ["--train::optimizer::lr", "0.5"],
        ["--train#handlers#0#interval", "7"],
    ],
    ids=" ".join,
)
def test_known_keys_are_accepted(base, arguments):
    check(base, *arguments)


@pytest.mark.parametrize("option", ["--meta_file", "--logging_file", "--init_id", "--args_file"])
def test_options_of_monai_itself_are_accepted(base, option):
    check(base, option, "x")


@pytest.mark.parametrize("arguments", [["--epoch", "5"], ["--epoch=5"], ["--resume", "--epoch"]], ids=" ".join)
def test_a_mistyped_option_names_the_nearest_key(base, arguments):
    assert refusal(base, *arguments) == "unknown option --epoch; did you mean 'epochs'?"


def test_a_mistyped_nested_option_names_the_nearest_key(base):
    message = refusal(base, "--train#optimizer#lrr", "0.5")
    assert message == "unknown option --train#optimizer#lrr; did you mean 'train#optimizer#lr'?"


def test_an_option_like_no_other_points_to_the_configuration(base):
    message = refusal(base, "--zzz", "1")
    assert message == "unknown option --zzz; see the configuration file for what can be set"


def test_options_joined_to_their_values_are_read_everywhere(base):
    with pytest.raises(InputError, match="unknown option --epoch;"):
        check_command_line(["run", f"--config_file={base}", "--epoch=5"])


@pytest.mark.parametrize("run_id", [["training"], ["--run_id", "training"]], ids=" ".join)
def test_another_run_id_can_be_given(base, run_id):
    check_command_line(["run", *run_id, "--config_file", base])


@pytest.mark.parametrize("run_id", [["trainin"], ["--run_id", "trainin"]], ids=" ".join)
def test_an_unknown_run_id_names_the_nearest(base, run_id):
    with pytest.raises(InputError, match=r"no run id 'trainin' in .*base\.json; did you mean 'training'\?"):
        check_command_line(["run", *run_id, "--config_file", base])


def check_overlay(base, tmp_path, content, form="['{}', '{}']"):
    check(form.format(base, write(tmp_path / "over lay.json", content)))


@pytest.mark.parametrize("form", ["['{}', '{}']", "['{}','{}']", '["{}", "{}"]', "{},{}"])
def test_an_unknown_key_of_an_overlay_names_file_and_nearest_key(base, tmp_path, form):
    with pytest.raises(InputError, match=r"/over lay\.json: unknown key 'dataset_dri'; did you mean 'dataset_dir'\?"):
        check_overlay(base, tmp_path, {"epochs": 9, "dataset_dri": "elsewhere"}, form)


def test_a_key_of_an_overlay_is_known_if_a_value_refers_to_it(base, tmp_path):
    check_overlay(base, tmp_path, {"phantom_seed": 4, "dataset_dir": "$make(seed=@phantom_seed)"})


@pytest.mark.parametrize(
    ("key", "value"),
    [("+imports", ["$import sys"]), ("train#optimizer#lr", 0.5), ("train::optimizer::lr", 0.5), ("_meta_", {})],
)
def test_keys_of_an_overlay_that_change_a_part_are_judged_by_their_root(base, tmp_path, key, value):
    check_overlay(base, tmp_path, {key: value})


@pytest.mark.parametrize("arguments", [["trian"], ["run", "trian"], ["download", "--config_file", "x.json", "--trian"]])
def test_other_commands_are_left_alone(arguments):
    check_command_line(arguments)


def test_a_process_that_is_no_bundle_command_is_left_alone(base, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/pytest", "run", "--config_file", base, "--epoch", "5"])
    check_command_line()


def test_an_overlay_may_bring_what_monai_evaluates_of_itself(base, tmp_path):
    check_overlay(base, tmp_path, {"initialize": [], "finalize": ["$print('done')"]})
