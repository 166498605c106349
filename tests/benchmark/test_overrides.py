"""Settings on the command line."""

from __future__ import annotations

import json

import pytest

from custom.benchmark.overrides import parse_overrides
from custom.benchmark.protocol import read_protocol
from custom.errors import InputError

BASE = {"first_stage": "name", "amp": False, "image_size": 224, "mixing_start": "$1 / 3"}


def test_overrides_become_values():
    arguments = ["--image_size", "64", "--amp=true", "--first_stage", "some/folder", "--width", "null"]
    arguments += ["--optimizer#momentum", "0.5", "--augmentation::rotate::prob=0"]
    assert parse_overrides(arguments) == {
        "image_size": 64,
        "amp": True,
        "first_stage": "some/folder",
        "width": None,
        "optimizer#momentum": 0.5,
        "augmentation#rotate#prob": 0,
    }


def test_a_setting_may_be_written_with_hyphens():
    assert parse_overrides(["--image-size", "64", "--val-interval=2"]) == {"image_size": 64, "val_interval": 2}


@pytest.mark.parametrize("arguments", [["image_size"], ["--image_size"], ["--a", "--b"]])
def test_what_is_no_pair_is_refused(arguments, message_of):
    with pytest.raises(InputError) as error:
        parse_overrides(arguments)
    message_of(error)


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
