"""One set of settings for all runs."""

from __future__ import annotations

import json

import pytest

from custom.benchmark.plan import make_plan
from custom.benchmark.protocol import (
    DEFAULT_PROTOCOL,
    SAME_FOR_ALL,
    check_protocol,
    keep_protocol,
    method_settings,
    parse_overrides,
    read_protocol,
    shared_settings,
)
from custom.errors import InputError


@pytest.fixture
def plan(bundle, phantoms):
    return make_plan(bundle, phantoms, ["supervised", "ua_mt"], ["all"], ["0"])


def test_overrides_become_values():
    arguments = ["--image_size", "64", "--amp=true", "--first_stage", "some/folder", "--width", "null"]
    arguments += ["--momentum", "0.5", "--train#preprocessing#transforms#2#prob=0"]
    assert parse_overrides(arguments) == {
        "image_size": 64,
        "amp": True,
        "first_stage": "some/folder",
        "width": None,
        "momentum": 0.5,
        "train#preprocessing#transforms#2#prob": 0,
    }


def test_a_setting_may_be_written_with_hyphens():
    assert parse_overrides(["--image-size", "64", "--val-interval=2"]) == {"image_size": 64, "val_interval": 2}


@pytest.mark.parametrize("arguments", [["image_size"], ["--image_size"], ["--a", "--b"]])
def test_what_is_no_pair_is_refused(arguments, message_of):
    with pytest.raises(InputError) as error:
        parse_overrides(arguments)
    message_of(error)


def test_the_shipped_protocol_fits_the_bundles_and_says_size_and_schedule(plan):
    protocol = read_protocol(DEFAULT_PROTOCOL)
    check_protocol(protocol, plan)
    assert set(SAME_FOR_ALL) <= protocol.keys()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"imagesize": 64}, "did you mean 'image_size'?"),
        ({"labelled": "10%"}, "use --labels"),
        ({"tracker#enabled": False}, "use --experiment"),
        ({"use_unlabelled": True}, "the method decides"),
    ],
)
def test_a_setting_that_no_run_follows_is_refused(plan, settings, words, message_of):
    with pytest.raises(InputError) as error:
        check_protocol(settings, plan)
    assert words in message_of(error)


def test_an_override_that_every_method_would_ignore_is_refused(plan, message_of):
    check_protocol({"consistency_beta": 0.5}, plan)  # in a file it may wait for other methods
    with pytest.raises(InputError) as error:
        check_protocol({"consistency_beta": 0.5}, plan, ["consistency_beta"])
    assert "--consistency_beta would change nothing" in message_of(error)


def test_what_a_method_sets_stays_its_own_except_schedule_and_size():
    settings = {"image_size": 64, "momentum": 0.5, "consistency_beta": 1.0, "train#trainer#amp": True}
    own = {"image_size": 256, "consistency_beta": 0.1, "train#trainer": {"_target_": "x"}}
    assert shared_settings(settings, own) == {"image_size": 64, "momentum": 0.5}


def test_semigda_sets_nothing_itself(bundle):
    assert method_settings(bundle, "semigda") == {}
    assert method_settings(bundle, "supervised")["use_unlabelled"] is False


def test_a_protocol_file_must_be_a_json_object(tmp_path, message_of):
    for content in (None, "{", "[1]"):
        file = tmp_path / "protocol.json"
        if content is not None:
            file.write_text(content)
        with pytest.raises(InputError) as error:
            read_protocol(file)
        assert "--protocol" in message_of(error)


def test_the_protocol_kept_may_change_only_where_no_result_depends_on_it(tmp_path, message_of):
    keep_protocol({"image_size": 64, "num_workers": 0}, tmp_path)
    keep_protocol({"image_size": 64, "num_workers": 4, "mlflow": False}, tmp_path)
    assert json.loads((tmp_path / "protocol.json").read_text())["num_workers"] == 4
    for changed, words in (({"image_size": 32}, "image_size is 32 but was 64"), ({}, "image_size is 'not set'")):
        with pytest.raises(InputError) as error:
            keep_protocol(changed, tmp_path)
        assert words in message_of(error)


BASE = {"first_stage": "name", "amp": False, "image_size": 224, "mixing_start": "$1 / 3"}


def test_what_is_a_text_in_the_bundle_stays_a_text():
    for text in ("123", "1e5", "true", "[a]", "None"):
        assert parse_overrides(["--first_stage", text], BASE) == {"first_stage": text}
    assert parse_overrides(["--first_stage", "null", "--amp", "True"], BASE) == {"first_stage": None, "amp": True}


def test_a_first_stage_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_overrides(["--first_stage", "~/stage"], BASE) == {"first_stage": str(tmp_path / "stage")}


@pytest.mark.parametrize("key", ["first_stage", "mixing_start", "width", "train#trainer#_target_"])
@pytest.mark.parametrize("text", ["$x", "@x", "%x", "[1, '$x']", "{'_target_': 'os.system'}"])
def test_nothing_that_would_be_evaluated_is_taken(key, text, tmp_path, message_of):
    with pytest.raises(InputError) as error:
        parse_overrides([f"--{key}", text])
    assert f"--{key}" in message_of(error)
    file = tmp_path / "protocol.json"
    file.write_text(json.dumps({key: text if text[0] in "$@%" else ["@x"]}))
    with pytest.raises(InputError) as error:
        read_protocol(file)
    assert key in message_of(error)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", "x"),
        ("image_size", -32),
        ("amp", "maybe"),
        ("momentum", 5),
        ("segmentation_epochs", 0),
        ("lr_restart", "foo"),
        ("train#preprocessing#transforms#2#prob", "x"),
        ("network_def", 1),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused(plan, key, value, message_of):
    with pytest.raises(InputError) as error:
        check_protocol({key: value}, plan)
    assert key in message_of(error)


@pytest.mark.parametrize(("key", "value"), [("largest_component", True), ("num_classes", 3)])
def test_what_is_about_the_data_is_no_matter_of_a_protocol_but_may_be_asked_for(plan, key, value, message_of):
    with pytest.raises(InputError) as error:
        check_protocol({key: value}, plan)
    assert f"--{key}" in message_of(error)
    check_protocol({key: value}, plan, [key])
