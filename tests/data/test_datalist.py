from __future__ import annotations

import json
import logging

import pytest

from custom.data import load_datalist, scored_items
from custom.errors import InputError


def pair(number):
    return {"image": f"images/{number}.png", "label": f"masks/{number}.png"}


def images(*numbers):
    return [f"images/{number}.png" for number in numbers]


def listing(**changes):
    """Ten training images, of which the last two have no label."""
    content = {
        "training": [*(pair(number) for number in range(8)), {"image": "images/8.png"}, {"image": "images/9.png"}],
        "validation": [pair(20)],
        "test": [pair(30)],
    }
    return content | changes


@pytest.fixture
def load(tmp_path):
    """Write a listing and load it; the folder of the data is `load.folder`."""
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)

    def write_and_load(content, **arguments):
        file = tmp_path / "datalist.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return load_datalist(file, folder, **arguments)

    write_and_load.folder = folder
    return write_and_load


def numbers(items):
    return [int(item["image"].rsplit("/", 1)[1].removesuffix(".png")) for item in items]


def test_paths_become_absolute(load):
    assert load(listing())["validation"] == [
        {"image": f"{load.folder}/images/20.png", "label": f"{load.folder}/masks/20.png"}
    ]


def test_all_takes_every_image_with_a_label(load):
    splits = load(listing())
    assert numbers(splits["labelled"]) == list(range(8))
    assert numbers(splits["unlabelled"]) == [8, 9]
    assert numbers(splits["test"]) == [30]


def test_unlabelled_items_have_no_label(load):
    splits = load(listing(), labelled=2)
    assert numbers(splits["unlabelled"]) == list(range(2, 10))
    assert all(set(item) == {"image"} for item in splits["unlabelled"])


@pytest.mark.parametrize(("labelled", "count"), [("1%", 1), ("25%", 2), ("26%", 3), ("12.5 %", 1), ("100%", 8)])
def test_a_share_is_rounded_up_over_the_images_with_a_label(load, labelled, count):
    assert numbers(load(listing(), labelled=labelled)["labelled"]) == list(range(count))


def test_a_share_is_free_of_rounding_errors(load):
    content = listing(training=[pair(number) for number in range(100, 200)])
    assert len(load(content, labelled="7%")["labelled"]) == 7  # 0.07 * 100 is 7.000000000000001


SUBSETS = {"50%": images(5, 2, 7, 0), "10%": images(5), "25%": images(7, 5)}


def test_a_listed_subset_wins_over_the_share(load):
    splits = load(listing(labelled_subsets={"10%": images(3, 6)}), labelled="10%")
    assert numbers(splits["labelled"]) == [3, 6]
    assert numbers(splits["unlabelled"]) == [0, 1, 2, 4, 5, 7, 8, 9]


def test_a_subset_can_have_any_name(load):
    splits = load(listing(labelled_subsets={"3 patients": images(4, 1, 2)}), labelled="3 patients")
    assert numbers(splits["labelled"]) == [4, 1, 2]


@pytest.mark.parametrize("count", range(1, 9))
def test_counts_take_the_smallest_subset_first_and_then_file_order(load, count):
    splits = load(listing(labelled_subsets=SUBSETS), labelled=count)
    assert numbers(splits["labelled"]) == [5, 7, 2, 0, 1, 3, 4, 6][:count]


def test_unlisted_shares_contain_the_listed_subsets(load):
    splits = load(listing(labelled_subsets=SUBSETS), labelled="30%")
    assert numbers(splits["labelled"]) == [5, 7, 2]


def test_unlabelled_images_can_be_left_out(load):
    assert load(listing(), labelled=2, use_unlabelled=False)["unlabelled"] == []


def test_warns_when_nothing_is_unlabelled(load, caplog):
    with caplog.at_level(logging.WARNING):
        load(listing(training=[pair(0)]))
    assert [record.getMessage().split(": ")[-1] for record in caplog.records] == ["training uses labels only"]


def test_test_images_are_optional_and_need_no_label(load):
    content = listing(test=["images/30.png"])
    assert load(content)["test"] == [{"image": f"{load.folder}/images/30.png"}]
    del content["test"]
    assert load(content)["test"] == []


def test_test_images_keep_the_names_of_their_sets_if_all_have_one(load):
    named = [pair(30) | {"set": "one"}, pair(31) | {"set": "two"}]
    assert [item["set"] for item in load(listing(test=named))["test"]] == ["one", "two"]
    assert [sorted(item) for item in load(listing(test=[*named, pair(32)]))["test"]] == [["image", "label"]] * 3


def test_an_absolute_path_inside_the_folder_is_fine(load):
    inside = str(load.folder / "images" / "0.png")
    assert load(listing(training=[pair(1), {"image": inside}]))["unlabelled"] == [{"image": inside}]


def test_links_inside_the_folder_are_followed(load, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (load.folder / "link").symlink_to(tmp_path / "elsewhere")
    splits = load(listing(training=[pair(1), {"image": "link/0.png"}]))
    assert splits["unlabelled"] == [{"image": f"{load.folder}/link/0.png"}]


def test_a_folder_reached_through_a_link_is_the_same_folder(load, tmp_path):
    (tmp_path / "link").symlink_to(load.folder)
    (tmp_path / "datalist.json").write_text(json.dumps(listing(test=[str(load.folder / "images" / "1.png")])))
    assert load_datalist(tmp_path / "datalist.json", tmp_path / "link")["test"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{not json", "datalist.json is not JSON"),
        ("[]", "must be a JSON object"),
        ({"validation": []}, 'lacks the list "training"'),
        ({"training": [pair(0)]}, 'lacks the list "validation"'),
        (listing(training={"image": "a"}), 'lacks the list "training"'),
        (listing(training=[{"label": "masks/0.png"}]), 'entry 0 of "training" lacks "image"'),
        (listing(training=[7]), 'entry 0 of "training" lacks "image"'),
        (listing(training=[pair(0), {"image": 7}]), 'entry 1 of "training" holds 7 for a path'),
        (listing(training=[pair(0), pair(1), pair(0)]), '"training" lists .*images/0.png twice'),
        (listing(validation=[{"image": "images/1.png"}]), 'entry 0 of "validation" lacks "label"'),
        (listing(test=[{"image": "../other/1.png"}]), "../other/1.png lies outside dataset_dir"),
        (listing(test=[{"image": "images/../../data2/1.png"}]), "lies outside dataset_dir"),
        (listing(test=[{"image": "/etc/hostname"}]), "/etc/hostname lies outside dataset_dir"),
        (listing(training=[{"image": "images/1.png"}]), 'no entry of "training" has a "label"'),
        (listing(training=[]), 'no entry of "training" has a "label"'),
        (listing(labelled_subsets=["images/1.png"]), '"labelled_subsets" must map'),
        (listing(labelled_subsets={"10%": "images/1.png"}), '"labelled_subsets" must map'),
        (listing(labelled_subsets={"10%": images(20)}), '"10%" holds .*images/20.png, which "training" lacks'),
        (
            listing(labelled_subsets={"10%": images(9)}),
            '"10%" holds .*images/9.png, which "training" lacks or gives no',
        ),
        (listing(labelled_subsets={"10%": images(1, 1)}), '"10%" lists .*images/1.png twice'),
        (listing(labelled_subsets={"1%": images(1), "9%": images(2, 3)}), '"9%" lacks .*1.png of the smaller "1%"'),
    ],
)
def test_a_wrong_listing_is_named_in_one_line(load, content, message):
    with pytest.raises(InputError, match=message) as caught:
        load(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labelled", ["ten", "10", "-5%", "1e1%", "%", "", 0.1, True, None])
def test_an_unknown_way_to_ask_for_labels_is_named(load, labelled):
    with pytest.raises(InputError, match="labelled is .*; give"):
        load(listing(), labelled=labelled)


@pytest.mark.parametrize("labelled", [9, 0, -1, "0%", "101%"])
def test_more_labels_than_there_are_or_none_at_all_are_refused(load, labelled):
    with pytest.raises(InputError, match=f"labelled={labelled} asks for .* give 1 to 8"):
        load(listing(), labelled=labelled)


def test_a_missing_datalist_is_named(tmp_path):
    with pytest.raises(InputError, match="none.json does not exist"):
        load_datalist(tmp_path / "none.json", tmp_path)


def test_a_missing_or_empty_folder_is_named(load, tmp_path):
    (load.folder / "images").rmdir()
    with pytest.raises(InputError, match="dataset_dir .*data is empty"):
        load(listing())
    load.folder.rmdir()
    with pytest.raises(InputError, match="dataset_dir .*data is not a folder"):
        load(listing())


def test_images_that_are_scored_have_labels():
    splits = {"test": [{"image": "1.png", "label": "2.png"}, {"image": "3.png"}]}
    with pytest.raises(InputError, match=r'3.png is in "test" without a label: add it, or take the image off the list'):
        scored_items(splits, "test")
    splits["test"].pop()
    assert scored_items(splits, "test") == splits["test"]


def test_there_must_be_an_image_to_score_unless_a_training_asks():
    with pytest.raises(InputError, match=r'split test: the datalist lists no image in "test"; add some, or give'):
        scored_items({"test": []}, "test")
    assert scored_items({"test": []}, "test", may_be_empty=True) == []


def test_groups_and_volumes_are_kept_where_all_images_of_a_split_have_them(load):
    training = [pair(number) | {"group": f"p{number // 2}", "volume": number} for number in range(4)]
    splits = load(listing(training=training, validation=[pair(20) | {"group": "p9"}, pair(21)]), labelled=2)
    assert [(item["group"], item["volume"]) for item in splits["labelled"]] == [("p0", "0"), ("p0", "1")]
    assert [sorted(item) for item in splits["unlabelled"]] == [["group", "image", "volume"]] * 2
    assert [sorted(item) for item in splits["validation"]] == [["image", "label"]] * 2


@pytest.mark.parametrize("value", [True, 1.5, ["a"], {}])
def test_a_group_that_is_no_name_is_refused(load, value):
    with pytest.raises(InputError, match='entry 1 of "validation" has the "group" .*; write a name'):
        load(listing(validation=[pair(20) | {"group": "p9"}, pair(21) | {"group": value}]))
