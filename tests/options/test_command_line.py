from __future__ import annotations

import json
import sys

import pytest
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from custom.errors import InputError
from custom.options.command_line import OWN_OPTIONS, check_ids, check_keys, read_command_line, refuse_expressions

BASE = {
    "imports": ["$import os"],
    "dataset_dir": "data",
    "epochs": 3,
    "resume": False,
    "train": {"optimizer": {"lr": 0.1}, "handlers": [{"interval": 1}]},
    "network": "$@train",
    "training": ["$print(@epochs)"],
    "run": ["$print(@epochs)"],
}


def write(path, content):
    path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def base(tmp_path):
    return write(tmp_path / "base.json", BASE)


def check_arguments(arguments):
    """What happens before any option's value is looked at."""
    refuse_expressions(arguments)
    command = read_command_line(arguments)
    if command is not None:
        files = DefaultParseValue(command.options["config_file"])
        parser = ConfigParser(ConfigParser.load_config_files(files))
        given = {key: value for key, value in command.options.items() if key not in OWN_OPTIONS}
        check_ids(command, parser.get())
        parser.update({key: value for key, value in given.items() if "#" not in key and "::" not in key})
        check_keys(parser.get(), ["dataset_dir", "epochs", "resume"], given)


def check(base, *arguments):
    check_arguments(["run", "--config_file", base, *arguments])


def refusal(base, *arguments):
    with pytest.raises(InputError) as error:
        check(base, *arguments)
    assert "\n" not in str(error.value)
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


@pytest.mark.parametrize("option", ["--meta_file", "--logging_file", "--args_file"])
def test_options_of_monai_itself_are_accepted(base, option):
    check(base, option, "x")


@pytest.mark.parametrize("arguments", [["--epoch", "5"], ["--epoch=5"], ["--resume", "--epoch"]], ids=" ".join)
def test_a_mistyped_option_names_the_nearest_key(base, arguments):
    assert refusal(base, *arguments) == "unknown option --epoch; did you mean 'epochs'?"


def test_an_option_like_no_other_points_to_the_configuration(base):
    message = refusal(base, "--zzz", "1")
    assert message == "unknown option --zzz; see the configuration file for what can be set"


def test_options_joined_to_their_values_are_read_everywhere(base):
    with pytest.raises(InputError, match="unknown option --epoch;"):
        check_arguments(["run", f"--config_file={base}", "--epoch=5"])


@pytest.mark.parametrize("run_id", [["training"], ["--run_id", "training"]], ids=" ".join)
def test_another_run_id_can_be_given(base, run_id):
    check_arguments(["run", *run_id, "--config_file", base])


@pytest.mark.parametrize("run_id", [["trainin"], ["--run_id", "trainin"]], ids=" ".join)
def test_an_unknown_run_id_names_the_nearest(base, run_id):
    with pytest.raises(InputError, match=r"no run id 'trainin' in the configuration; did you mean 'training'\?"):
        check_arguments(["run", *run_id, "--config_file", base])


def check_overlay(base, tmp_path, content, form="['{}', '{}']"):
    check(form.format(base, write(tmp_path / "over lay.json", content)))


@pytest.mark.parametrize("form", ["['{}', '{}']", "['{}','{}']", '["{}", "{}"]'])
def test_an_unknown_key_of_an_overlay_names_the_nearest_key(base, tmp_path, form):
    with pytest.raises(InputError, match=r"unknown option dataset_dri; did you mean 'dataset_dir'\?"):
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
    check_arguments(arguments)


def test_a_process_that_is_no_bundle_command_is_left_alone(base, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/pytest", "run", "--config_file", base, "--epoch", "$5"])
    refuse_expressions()
    assert read_command_line() is None


@pytest.mark.parametrize("arguments", [["--epochs", "1", "--epochs", "2"], ["--epochs=1", "--epochs", "2"]])
def test_the_last_of_repeated_options_counts(arguments, base):
    command = read_command_line(["run", "--config_file", base, *arguments])
    assert command.options["epochs"] == "2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-epochs", "1"], "-epochs is no option: write --key value"),
        (["-"], "- is no option: write --key value"),
        (["--", "--trace"], "-- stands alone"),
        (["--=3"], "--=3 is no option"),
        (["training", "initialize"], "initialize belongs to no option"),
        (["--dataset_dir", "a", "b"], "no run id 'b'"),
        (["training", "--run_id", "run"], "run ids training and run: give one"),
        (["--noresume"], "unknown option --noresume; did you mean 'resume'?"),
        (["--init_id", "run"], "--init_id run: leave it out"),
        (["--final_id", "run"], "--final_id run: leave it out"),
        (["--_meta_", "3"], "unknown option --_meta_"),
    ],
)
def test_an_argument_that_fire_would_read_in_its_own_way_is_refused(base, arguments, message):
    assert refusal(base, *arguments).startswith(message)


def test_a_dash_in_a_key_is_an_underscore_as_for_fire(base):
    check(base, "--dataset-dir", "x")


def test_texts_are_kept_as_they_were_typed():
    texts = ["2018", "lesion,2024", "1e3", "007", "1_000", "None", "[a]", '"x"', "-1", "a=b", ""]
    for text in texts:
        for arguments in (["--dataset_dir", text], [f"--dataset_dir={text}"]):
            command = read_command_line(["run", "--config_file", "x.json", *arguments])
            assert command.options["dataset_dir"] == text


@pytest.mark.parametrize("run_id", ["epochs", "imports", "train", "dataset_dir", "network", "../x", "", "a\nb"])
def test_what_cannot_be_run_is_no_run_id(base, run_id):
    assert refusal(base, "--run_id", run_id).startswith("no run id")


EXPRESSIONS = ["$print(1)", "@epochs", "%x.json", " $print(1)", "['$print(1)']", "('a', '@b')", "{'a': '$b'}", "'$a'"]
KEYS = ["epochs", "dataset_dir", "train#optimizer#lr", "initialize", "imports", "run", "bundle_root", "init_id", "nope"]


@pytest.mark.parametrize("value", EXPRESSIONS)
@pytest.mark.parametrize("key", KEYS)
def test_a_value_that_monai_would_evaluate_is_refused_for_every_key(base, key, value):
    for arguments in ([f"--{key}", value], [f"--{key}={value}"]):
        assert "must not begin with $, @ or %" in refusal(base, *arguments)


@pytest.mark.parametrize("value", EXPRESSIONS)
def test_a_run_id_that_monai_would_evaluate_is_refused(base, value):
    assert "must not begin with $, @ or %" in refusal(base, value)


@pytest.mark.parametrize("value", ["10%", "a$b", "a@b", "./$x", "a%"])
def test_the_same_characters_elsewhere_are_plain(base, value):
    check(base, "--dataset_dir", value)


def test_an_overlay_may_bring_what_monai_evaluates_of_itself(base, tmp_path):
    check_overlay(base, tmp_path, {"initialize": [], "finalize": ["$print('done')"]})
