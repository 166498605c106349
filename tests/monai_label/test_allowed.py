from __future__ import annotations

import pytest

from custom.errors import InputError
from custom.monai_label.allowed import (
    InferOptions,
    TrainOptions,
    check_conf,
    check_data,
    check_options,
    parse_json,
    per_model,
    refuse_expressions,
)

EXPRESSION = "$__import__('os').abort()"


def refusal(check, *arguments):
    with pytest.raises(InputError) as error:
        check(*arguments)
    message = str(error.value)
    assert message.isprintable()
    return message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_epochs", 1),
        ("val_split", 0),
        ("val_split", -1),
        ("learning_rate", 1),
        ("seed", 0),
        ("pretrained", False),
        ("device", "cpu"),
        ("device", ["cpu"]),
        ("gpus", "all"),
        ("gpus", "0"),
        ("tracking", ["None", "mlflow"]),
        ("tracking_run_name", "first try"),
    ],
)
def test_values_of_the_right_type_and_range_pass(key, value):
    first = value[0] if isinstance(value, list) else value
    assert check_options(TrainOptions, {key: value}).given() == {key: first}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_epochs", 0),
        ("max_epochs", True),
        ("max_epochs", "5"),
        ("max_epochs", 1.5),
        ("seed", -1),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("val_split", 1),
        ("use_unlabelled", "true"),
        ("use_unlabelled", 1),
        ("device", "gpu"),
        ("device", "cuda:99"),
        ("gpus", "0,,1"),
        ("gpus", "-1"),
        ("tracking", "settings.json"),
        ("tracking_uri", "file:///etc"),
        ("tracking_run_name", "../../x"),
        ("run_id", "network"),
        ("model_filename", "../model.pt"),
    ],
)
def test_other_values_are_refused_by_the_name_of_their_key(key, value):
    assert key in refusal(check_options, TrainOptions, {key: value})


@pytest.mark.parametrize("key", TrainOptions.model_fields)
def test_no_training_option_takes_an_expression(key):
    assert key in refusal(check_options, TrainOptions, {key: EXPRESSION})


def test_empty_values_mean_the_default():
    assert check_options(TrainOptions, {"seed": "", "max_epochs": None, "tracking_uri": ""}).given() == {}


def test_an_unknown_key_is_named_with_those_that_are_offered():
    message = refusal(check_options, TrainOptions, {"train#trainer": 1})
    assert "train#trainer" in message
    assert "max_epochs" in message


def test_only_some_options_of_an_inference_reach_the_transforms():
    options = {"result_extension": ".nrrd", "label_info": [EXPRESSION], "client_id": "me", "foreground": [[1, 2]]}
    assert check_options(InferOptions, options).used() == {"result_extension": ".nrrd", "foreground": [[1, 2]]}


@pytest.mark.parametrize("points", [[1, 2], [[1]], [["1", "2"]], [[1.5, 2]], [[2**40, 0]], {"polyp": [[1, 2]]}])
def test_points_are_lists_of_whole_numbers(points):
    assert "foreground" in refusal(check_options, InferOptions, {"foreground": points})


def test_options_for_all_models_are_checked_by_name():
    check = per_model(TrainOptions)
    check({"a": {"max_epochs": 1}, "seed": 2}, ["a", "b"])
    assert "the request for a" in refusal(check, {"a": {"x": 1}}, ["a"])
    assert "'c'" in refusal(check, {"c": {"max_epochs": 1}}, ["a"])


@pytest.mark.parametrize(
    "value",
    [
        EXPRESSION,
        "@network",
        "%x.json",
        ["a", [EXPRESSION]],
        {"a": {"b": EXPRESSION}},
        {EXPRESSION: 1},
        {"_target_": "os.abort"},
        "import os",
        "from os import abort",
        "a/@##b",
    ],
)
def test_what_a_configuration_would_evaluate_is_refused_at_any_depth(value):
    assert "option" in refusal(refuse_expressions, value, "option")


@pytest.mark.parametrize("value", ["/studies/a $b@c%.png", 1, None, True, [{"image": "/x/a.png"}], "me@home"])
def test_plain_data_is_not_refused(value):
    refuse_expressions(value, "option")


@pytest.mark.parametrize("text", ["{", "", "[" * 5000, "NaN", "[1e999]", '"\\ud800"', "9" * 30, "9" * 5000, b"\xff"])
def test_json_that_cannot_be_stored_is_refused(text):
    assert refusal(parse_json, text)


def test_json_of_moderate_depth_is_taken():
    value = {"a": [{"b": [1.5, "ü", None, True]}]}
    assert check_data(value) is value


@pytest.mark.parametrize(
    "conf", [{"models": "../../x"}, {"models": "a,b"}, {"zoo_source": "ngc"}, {"preload": "$x"}, {"x": "1"}]
)
def test_options_of_the_server_are_known_ones(conf):
    assert refusal(check_conf, conf, ["a"])


def test_options_of_the_server_that_are_right_pass():
    check_conf({"models": "a", "preload": "true", "zoo_source": "local"}, ["a"])
    check_conf({}, ["a"])
