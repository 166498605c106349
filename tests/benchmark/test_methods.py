"""Which of the shared settings a method follows."""

from __future__ import annotations

import pytest

from custom.benchmark.methods import Method, bundle_methods, read_method, shared_settings


def test_methods_are_semigda_and_the_overlays(bundle):
    methods = bundle_methods()
    assert methods[0] == "semigda" and {"supervised", "ua_mt", "broken"} <= set(methods)


def test_what_a_method_sets_stays_its_own_except_schedule_and_size():
    settings = {"image_size": 64, "optimizer#momentum": 0.5, "beta": 1.0, "train#trainer#amp": True}
    method = Method("x", {"image_size": 256, "beta": 0.1, "train#trainer": {"_target_": "x"}})
    assert shared_settings(settings, method) == {"image_size": 64, "optimizer#momentum": 0.5}


def test_a_list_that_an_overlay_makes_longer_is_its_own():
    assert not Method("x", {"+train#preprocessing#transforms": []}).follows("train#preprocessing#transforms#0")


@pytest.mark.parametrize(
    ("key", "followers"),
    [
        ("train#method#pseudo_temperature", {"semigda"}),
        ("train#trainer#mixing_start", {"semigda"}),
        ("train#method#threshold", set()),  # the overlay of fixmatch sets train#method as a whole
        ("train#trainer#one_connected_component", {"semigda", "supervised", "fixmatch"}),
        ("network_def#mapper_width", {"semigda"}),
        ("optimizer#momentum", {"semigda", "supervised", "fixmatch"}),
        ("lr_scheduler#cycles", {"semigda"}),
        ("width", {"semigda", "supervised", "fixmatch"}),
    ],
)
def test_a_setting_reaches_the_methods_whose_parts_take_it(bundle, key, followers):
    methods = [read_method(bundle, name) for name in ("semigda", "supervised", "fixmatch")]
    assert {method.name for method in methods if method.follows(key)} == followers


def test_semigda_sets_nothing_itself(bundle):
    assert read_method(bundle, "semigda").own == {}
    assert read_method(bundle, "supervised").own["use_unlabelled"] is False


def test_semigda_alone_is_aligned_first(bundle):
    aligned = [name for name in bundle_methods() if read_method(bundle, name).is_aligned]
    assert set(aligned) == {
        "semigda",
        "semigda_supervised",
        "semigda_plus",
        "broken",
    }  # the last one replaces the network alone


@pytest.mark.parametrize("name", bundle_methods())
def test_every_method_is_read_with_its_name(bundle, name):
    method = read_method(bundle, name)
    assert method.config["method"] == name and method.config["image_size"] == 224
