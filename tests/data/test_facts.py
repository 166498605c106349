from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from PIL import Image

from custom.data import DataFacts, load_datalist, model_bit_depth, read_facts
from custom.errors import InputError


@pytest.fixture
def splits(tmp_path):
    """An image of 8 bits, one of 10 bits for training and one of 12 for validation; one of 16 bits for the test."""
    items = {}
    for split, highest in (("labelled", 255), ("unlabelled", 1000), ("validation", 4000), ("test", 60000)):
        path = tmp_path / f"{split}.png"
        Image.fromarray(np.array([[0, highest]], np.uint8 if highest < 256 else np.uint16)).save(path)
        items[split] = [{"image": str(path)}]
    return items


@pytest.fixture
def datalist(tmp_path):
    def write(**content):
        (tmp_path / "datalist.json").write_text(json.dumps(content))
        return tmp_path / "datalist.json"

    return write


def test_depths_of_all_images_for_training_and_validation_are_looked_at(splits):
    assert DataFacts(data=splits).bit_depth == 12
    splits["validation"] = []
    assert DataFacts(data=splits).bit_depth == 10
    splits["unlabelled"] = []
    assert DataFacts(data=splits).bit_depth is None


def test_the_depth_that_the_datalist_states_comes_first(splits, datalist):
    assert read_facts(datalist(bit_depth=14), splits).bit_depth == 14
    assert read_facts(datalist(), splits).bit_depth == 12


def test_a_model_keeps_its_depth(splits):
    assert DataFacts(stated_bit_depth=11, data=splits).bit_depth == 11


def test_broken_images_are_left_to_the_check(splits):
    with open(splits["validation"][0]["image"], "wb") as file:
        file.write(b"garbage")
    assert DataFacts(data=splits).bit_depth == 10


def test_the_model_decides_in_an_evaluation_and_another_depth_is_a_warning(datalist, caplog):
    with caplog.at_level(logging.WARNING):
        assert model_bit_depth({"bit_depth": 12}, datalist(bit_depth=12)) == 12
        assert model_bit_depth({}, datalist()) == 16
        assert model_bit_depth({"bit_depth": None}, datalist()) is None
        assert not caplog.records
        assert model_bit_depth({"bit_depth": 12}, datalist(bit_depth=10)) == 12
    assert "bit_depth of 10" in caplog.text


@pytest.mark.parametrize("value", [7, 17, "12", True, 12.0, [12]])
def test_another_depth_than_8_to_16_is_refused(splits, datalist, value):
    with pytest.raises(InputError, match='"bit_depth" is .*8 to 16'):
        read_facts(datalist(bit_depth=value), splits)


def test_the_number_of_classes_is_the_datalists_or_2(datalist):
    for content, expected in (({}, 2), ({"num_classes": 4}, 4)):
        assert read_facts(datalist(**content)).num_classes == expected
    for wrong in (1, "4", True, None):
        with pytest.raises(InputError, match='"num_classes" is'):
            read_facts(datalist(num_classes=wrong))


@pytest.mark.parametrize("number", [257, 256, 100_000, 10**30, 1, 0, -2, 2.0, True, "2", None, [2], {}])
def test_numbers_of_classes_that_masks_cannot_hold_are_refused(datalist, number):
    with pytest.raises(InputError, match='"num_classes" is .*2 to 255'):
        read_facts(datalist(num_classes=number))


def test_255_classes_are_the_most(datalist):
    assert read_facts(datalist(num_classes=255)).num_classes == 255


@pytest.mark.parametrize(
    ("content", "expected"), [({}, None), ({"ignore_value": 255}, 255), ({"ignore_value": None}, None)]
)
def test_the_value_of_undecided_pixels_is_what_the_datalist_states(datalist, content, expected):
    assert read_facts(datalist(**content)).ignore_value == expected


@pytest.mark.parametrize("value", [0, -1, 65536, "255", True, 2.5])
def test_other_values_of_undecided_pixels_are_refused(datalist, value):
    with pytest.raises(InputError, match='"ignore_value" is'):
        read_facts(datalist(ignore_value=value))


def test_classes_without_names_are_named_by_number(datalist):
    assert read_facts(datalist()).class_names == ("background", "foreground")
    assert read_facts(datalist(num_classes=3)).class_names == ("background", "class 1", "class 2")


def test_names_of_classes_tell_their_number(datalist):
    facts = read_facts(datalist(class_names=["background", "polyp", "tool"]))
    assert facts.class_names == ("background", "polyp", "tool")
    assert facts.num_classes == 3


def test_names_and_number_of_classes_must_agree(datalist):
    with pytest.raises(InputError, match=r'datalist.json: "class_names" lists 3 classes and "num_classes" is 2'):
        read_facts(datalist(class_names=["background", "polyp", "tool"], num_classes=2))


def test_a_data_set_without_a_name_has_that_of_its_folder(datalist, tmp_path):
    assert read_facts(datalist(name="BUSI")).name == "BUSI"
    assert read_facts(datalist()).name == tmp_path.name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 7),
        ("name", " "),
        ("class_names", "polyp"),
        ("class_names", ["background"]),
        ("class_names", ["background", 1]),
        ("class_names", {"0": "background", "1": "polyp"}),
        ("one_connected_component", "true"),
        ("one_connected_component", 1),
    ],
)
def test_a_wrong_fact_is_one_line_with_file_and_key(datalist, key, value):
    with pytest.raises(InputError, match=f'datalist.json: "{key}" is .*; give ') as caught:
        read_facts(datalist(**{key: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("datalist", ["nowhere/datalist.json", None])
def test_a_datalist_that_is_not_there_gives_defaults(datalist):
    facts = read_facts(datalist)
    assert (facts.num_classes, facts.bit_depth, facts.ignore_value, facts.one_connected_component) == (
        2,
        None,
        None,
        True,
    )


class TestOneConnectedComponent:
    """Masks of one class in one or two pieces."""

    @pytest.fixture
    def masks(self, tmp_path):
        def write(*pieces, classes=1):
            items = []
            for number, count in enumerate(pieces):
                labels = np.zeros((9, 9), np.uint8)
                for piece in range(count):
                    labels[2 * piece, :3] = piece % classes + 1
                items.append({"image": "no image", "label": str(tmp_path / f"{number}.png")})
                Image.fromarray(labels).save(items[-1]["label"])
            return {"labelled": items}

        return write

    def test_what_the_datalist_states_opens_no_mask(self, datalist):
        data = {"labelled": [{"image": "no image", "label": "no mask"}]}
        for stated in (True, False):
            assert read_facts(datalist(one_connected_component=stated), data).one_connected_component is stated

    @pytest.mark.parametrize(("several", "expected"), [(0, True), (1, True), (2, False)])
    def test_nine_masks_in_ten_decide(self, datalist, masks, several, expected):
        data = masks(*[1] * (10 - several), *[2] * several)
        assert read_facts(datalist(), data).one_connected_component is expected

    def test_every_class_counts_by_itself(self, datalist, masks):
        assert read_facts(datalist(num_classes=3), masks(2, classes=2)).one_connected_component
        assert not read_facts(datalist(num_classes=3), masks(3, classes=2)).one_connected_component

    def test_pieces_that_touch_at_a_corner_are_one(self, datalist, tmp_path):
        Image.fromarray(np.eye(5, dtype=np.uint8)).save(tmp_path / "mask.png")
        data = {"labelled": [{"image": "no image", "label": str(tmp_path / "mask.png")}]}
        assert read_facts(datalist(), data).one_connected_component

    def test_empty_and_broken_masks_and_undecided_pixels_count_for_nothing(self, datalist, masks, tmp_path):
        data = masks(0, 0, 0, 0, 0, 0, 0, 0, 2, 1)
        with open(data["labelled"][9]["label"], "wb") as file:
            file.write(b"garbage")
        assert not read_facts(datalist(), data).one_connected_component
        labels = np.zeros((9, 9), np.uint8)
        labels[0], labels[4], labels[8] = 1, 7, 7
        Image.fromarray(labels).save(data["labelled"][8]["label"])
        assert read_facts(datalist(ignore_value=7), data).one_connected_component

    def test_at_most_200_masks_are_opened(self, datalist, masks):
        data = masks(1, 2)
        data["labelled"] = data["labelled"][:1] * 200 + data["labelled"][1:] * 200
        assert read_facts(datalist(), data).one_connected_component

    def test_only_masks_of_labelled_items_are_opened(self, datalist, masks):
        data = masks(1, 2, 2)
        data = {split: [item] for split, item in zip(("labelled", "unlabelled", "test"), data["labelled"], strict=True)}
        assert read_facts(datalist(), data).one_connected_component


def test_classes_are_known_before_any_file_is_opened(datalist, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "note").touch()
    entry = {"image": "nowhere.png", "label": "nowhere.png"}
    path = datalist(training=[entry], validation=[entry], num_classes=5)
    assert read_facts(path, load_datalist(path, tmp_path / "data")).num_classes == 5


def test_the_side_of_the_training_images_is_known_where_their_scale_is_fixed(tmp_path):
    items = []
    for number, size in enumerate([(10, 40), (30, 30), (20, 20)]):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
        items.append({"image": str(tmp_path / f"{number}.png"), "label": "unused"})
    data = {"labelled": items}
    assert DataFacts(fixed_scale=True, data=data).source_side == pytest.approx(20)
    assert DataFacts(data=data).source_side is None
    assert DataFacts(fixed_scale=True).source_side is None


@pytest.mark.parametrize(
    ("stated", "expected"),
    [({}, (False, "auto")), ({"fixed_scale": True, "window": [-160, 240.5]}, (True, (-160.0, 240.5)))],
)
def test_scale_and_window_are_read_and_stated(tmp_path, stated, expected):
    (tmp_path / "datalist.json").write_text(json.dumps(stated))
    facts = read_facts(tmp_path / "datalist.json")
    assert (facts.fixed_scale, facts.window) == expected
    assert {key: facts.for_datalist().get(key) for key in stated} == stated


def test_the_size_of_a_pixel_is_a_fixed_scale(tmp_path):
    (tmp_path / "datalist.json").write_text(json.dumps({"microns_per_pixel": 0.5}))
    facts = read_facts(tmp_path / "datalist.json")
    assert facts.fixed_scale
    assert facts.for_datalist()["microns_per_pixel"] == facts.microns_per_pixel == 0.5


@pytest.mark.parametrize("side", [0, -1, "0.5", 2000, True])
def test_a_size_of_a_pixel_that_is_none_is_refused(tmp_path, side):
    (tmp_path / "datalist.json").write_text(json.dumps({"microns_per_pixel": side}))
    with pytest.raises(InputError, match='"microns_per_pixel" is .*; give the side of a pixel'):
        read_facts(tmp_path / "datalist.json")


@pytest.mark.parametrize("window", [[1, 0], [0], "wide", [0, None], {"low": 0}])
def test_a_window_that_is_none_is_refused(tmp_path, window):
    (tmp_path / "datalist.json").write_text(json.dumps({"window": window}))
    with pytest.raises(InputError, match=r'"window" is .*; give "auto" or \[low, high\]'):
        read_facts(tmp_path / "datalist.json")
