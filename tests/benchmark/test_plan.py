"""What may be asked for, and what is refused before anything starts."""

from __future__ import annotations

import json
import shutil

import pytest

from custom.benchmark.plan import Run, make_plan, split_list
from custom.errors import InputError


@pytest.fixture
def plan_with(bundle, phantoms):
    """Function (**changes) -> plan of a small benchmark."""

    def make(**changes):
        asked_for = {"methods": ["supervised"], "labels": ["25"], "seeds": ["0"], **changes}
        return make_plan(**{"bundle": bundle, "dataset_dir": phantoms, **asked_for})

    return make


def test_a_number_stands_for_the_percentage_and_a_name_for_itself(plan_with):
    assert plan_with(labels=["25", "4 images", "all"]).labels == ("25%", "4 images", "all")


def test_every_method_has_its_first_seed_before_any_has_its_second(plan_with):
    plan = plan_with(methods=["semigda", "supervised"], seeds=["0", "1"])
    assert [(run.seed, run.method) for run in plan.runs] == [
        *((0, "semigda"), (0, "supervised"), (1, "semigda"), (1, "supervised"))
    ]


def test_names_of_runs_suit_folders():
    assert Run("ua_mt", "10%", 3).name == "ua_mt_10percent_seed3"
    assert Run("semigda", "7 patients", 0).name == "semigda_7_patients_seed0"


def test_lists_are_separated_by_commas():
    assert split_list("10, 7 patients,,30%") == ["10", "7 patients", "30%"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"methods": ["ua_mtt"]}, "did you mean 'ua_mt'?"),
        ({"methods": []}, "--methods is empty"),
        ({"methods": ["ua_mt", "ua_mt"]}, "twice"),
        ({"labels": ["10"]}, "'10' is not one of 25%, 4 images, all"),
        ({"labels": ["25", "25%"]}, "twice"),
        ({"seeds": ["one"]}, "no whole number"),
        ({"seeds": ["1", "01"]}, "twice"),
    ],
)
def test_an_error_is_one_line(plan_with, changes, words, message_of):
    with pytest.raises(InputError) as error:
        plan_with(**changes)
    assert words in message_of(error)


def test_a_folder_that_is_no_bundle_is_refused(plan_with, tmp_path, message_of):
    with pytest.raises(InputError) as error:
        plan_with(bundle=tmp_path)
    assert "is no bundle" in message_of(error)


def test_missing_data_are_refused(plan_with, tmp_path, message_of):
    with pytest.raises(InputError) as error:
        plan_with(dataset_dir=tmp_path / "nowhere")
    assert "datalist.json does not exist" in message_of(error)


def test_test_images_without_labels_are_refused(plan_with, phantoms, tmp_path, message_of):
    shutil.copytree(phantoms, tmp_path / "data")
    file = tmp_path / "data" / "datalist.json"
    content = json.loads(file.read_text())
    del content["test"][0]["label"]
    file.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        plan_with(dataset_dir=tmp_path / "data")
    assert '"test"' in message_of(error)


@pytest.mark.parametrize(
    ("names", "words"),
    [(["$x"], "would be evaluated"), (["a b", "a_b"], "would share a folder"), (["@x"], "plain name")],
)
def test_names_of_subsets_are_plain_and_make_folders_of_their_own(
    names, words, plan_with, phantoms, tmp_path, message_of
):
    content = json.loads((phantoms / "datalist.json").read_text())
    content["labelled_subsets"] = {name: [content["training"][0]["image"]] for name in names}
    datalist = tmp_path / "datalist.json"
    datalist.write_text(json.dumps(content))
    with pytest.raises(InputError) as error:
        plan_with(labels=names, datalist=datalist)
    assert words in message_of(error)


@pytest.mark.parametrize("seed", ["-1", "1.5", "9" * 30, str(2**32), "\u0663", "$1"])
def test_a_seed_is_what_numpy_takes(seed, plan_with, message_of):
    with pytest.raises(InputError) as error:
        plan_with(seeds=[seed])
    assert "no whole number from 0" in message_of(error)
