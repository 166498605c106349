"""One set of settings for all runs."""

from __future__ import annotations

import json

import pytest
from monai.bundle import ConfigParser

from custom.benchmark.methods import SAME_FOR_ALL, bundle_methods, read_method, shared_settings
from custom.benchmark.plan import make_plan
from custom.benchmark.protocol import (
    DEFAULT_PROTOCOL,
    check_protocol,
    keep_protocol,
    read_base,
    read_protocol,
)
from custom.errors import InputError
from tests.benchmark.conftest import ROOT

PROTOCOLS = (DEFAULT_PROTOCOL, DEFAULT_PROTOCOL.with_name("protocol_cpu.json"))
BUNDLES = sorted((ROOT / "bundles").glob("semigda_*"))
METHODS = bundle_methods()


@pytest.fixture
def plan(bundle, phantoms):
    return make_plan(bundle, phantoms, ["supervised", "ua_mt"], ["all"], ["0"])


@pytest.mark.parametrize("file", PROTOCOLS, ids=lambda file: file.stem)
def test_a_shipped_protocol_fits_the_bundles_and_sets_size_and_schedule(plan, file):
    protocol = read_protocol(file)
    check_protocol(protocol, plan)
    assert set(SAME_FOR_ALL) <= protocol.keys()


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
@pytest.mark.parametrize("file", PROTOCOLS, ids=lambda file: file.stem)
def test_a_benchmark_trains_with_the_facts_of_its_bundle(folder, file):
    base = read_base(folder)
    for name in METHODS:
        method = read_method(folder, name)
        parser = ConfigParser(dict(method.config))
        for key, value in shared_settings(read_protocol(file), method).items():
            parser[key] = value
        config = parser.get()
        for key in ("dataset_dir", "datalist", "data", "facts", "found", "load", "tracker"):
            assert config[key] == base[key]
        assert config["network_def"]["num_classes"] == base["network_def"]["num_classes"]
        assert (
            config["train"]["trainer"]["one_connected_component"] == base["train"]["trainer"]["one_connected_component"]
        )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"imagesize": 64}, "did you mean 'image_size'?"),
        ({"labelled": "10%"}, "use --labels"),
        ({"tracker#enabled": False}, "use --experiment"),
        ({"use_unlabelled": True}, "the method decides"),
        ({"bundle_root": "."}, "use --bundle"),
        ({"num_classes": 3}, "use num_classes in the datalist"),
        ({"network_def#num_classes": 3}, "use num_classes in the datalist"),
        ({"momentum": 0.5}, "did you mean 'optimizer#momentum'?"),
    ],
)
def test_a_setting_that_no_run_follows_is_refused(plan, settings, words, message_of):
    with pytest.raises(InputError) as error:
        check_protocol(settings, plan)
    assert words in message_of(error)


def test_an_override_that_every_method_would_ignore_is_refused(plan, message_of):
    check_protocol({"train#trainer#consistency_weight#beta": 0.5}, plan)  # in a file it may wait for other methods
    with pytest.raises(InputError) as error:
        check_protocol({"train#trainer#consistency_weight#beta": 0.5}, plan, ["train#trainer#consistency_weight#beta"])
    assert "--train#trainer#consistency_weight#beta would change nothing" in message_of(error)


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


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", "x"),
        ("image_size", -32),
        ("amp", "maybe"),
        ("optimizer#momentum", 5),
        ("segmentation_epochs", 0),
        ("lr_scheduler#restart", "foo"),
        ("augmentation#rotate#prob", "x"),
        ("network_def", 1),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused(plan, key, value, message_of):
    with pytest.raises(InputError) as error:
        check_protocol({key: value}, plan)
    assert key in message_of(error)


@pytest.mark.parametrize(("key", "value"), [("train#trainer#one_connected_component", True)])
def test_what_is_about_the_data_is_no_matter_of_a_protocol_but_may_be_asked_for(plan, key, value, message_of):
    with pytest.raises(InputError) as error:
        check_protocol({key: value}, plan)
    assert f"--{key}" in message_of(error)
    check_protocol({key: value}, plan, [key])
