from __future__ import annotations

import logging
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from custom.checks import check_dataset, check_images
from custom.errors import InputError

WIDTH, HEIGHT = 12, 10


@pytest.fixture
def splits(tmp_path):
    """Two labelled and two unlabelled images, one for validation and one for test, all sound and all different."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    random = np.random.RandomState(0)
    for name in ("l0", "l1", "u0", "u1", "v", "t"):
        image = Image.fromarray(random.randint(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        image.save(tmp_path / "images" / f"{name}.png")
        mask = Image.fromarray(random.randint(0, 2, (HEIGHT, WIDTH), dtype=np.uint8) * 255)
        mask.save(tmp_path / "masks" / f"{name}.png")

    def item(name, *folders):
        return {key: str(tmp_path / folder / f"{name}.png") for key, folder in folders}

    image, label = ("image", "images"), ("label", "masks")
    return {
        "labelled": [item("l0", image, label), item("l1", image, label)],
        "unlabelled": [item("u0", image), item("u1", image)],
        "validation": [item("v", image, label)],
        "test": [item("t", image, label)],
    }


def problem(splits, num_classes=2):
    with pytest.raises(InputError) as caught:
        check_dataset(splits, num_classes)
    message = str(caught.value)
    assert "\n" not in message
    return message


def save(path, mode, size, value=0):
    Image.new(mode, size, value).save(path)


def test_sound_data_pass(splits):
    check_dataset(splits, num_classes=2)


def with_groups(splits, groups):
    """The same data whose images belong to patients, in the order of the splits."""
    items = iter(groups)
    return {split: [item | {"group": next(items)} for item in of_split] for split, of_split in splits.items()}


def test_a_patient_may_have_labelled_and_unlabelled_images(splits):
    check_dataset(with_groups(splits, ["a", "b", "a", "b", "c", "d"]), num_classes=2)


@pytest.mark.parametrize(
    ("groups", "first", "second"),
    [
        (["a", "b", "c", "c", "a", "d"], "v.png in validation", "l0.png in training"),
        (["a", "b", "c", "c", "d", "c"], "t.png in test", "u0.png in training"),
        (["a", "b", "c", "c", "d", "d"], "t.png in test", "v.png in validation"),
    ],
)
def test_a_patient_on_two_sides_of_the_split_is_refused(splits, groups, first, second):
    message = problem(with_groups(splits, groups))
    assert (
        f"{first} and" in message
        and f"{second} are of one patient or slide (group {groups[-1] if 'test' in first else 'a'})" in message
    )
    assert "keep all its images in one of them" in message


def test_masks_of_unlabelled_images_are_never_opened(splits, tmp_path):
    (tmp_path / "masks" / "u0.png").write_bytes(b"garbage")
    for item in splits["unlabelled"]:
        item["label"] = str(tmp_path / "masks" / "u0.png")
    check_dataset(splits, num_classes=2)


@pytest.mark.parametrize("split", ["labelled", "unlabelled", "validation", "test"])
def test_a_missing_image_is_named(splits, split):
    splits[split][0]["image"] = "/nowhere/image.png"
    assert problem(splits).startswith("/nowhere/image.png does not exist")


@pytest.mark.parametrize("split", ["labelled", "validation", "test"])
def test_a_missing_mask_is_named(splits, split):
    splits[split][0]["label"] = "/nowhere/mask.png"
    assert problem(splits).startswith("/nowhere/mask.png does not exist")


def test_an_image_cut_short_is_named(splits):
    path = splits["unlabelled"][1]["image"]
    with open(path, "r+b") as file:
        file.truncate(200)
    assert problem(splits).startswith(f"{path} cannot be read as an image")


def test_a_mask_of_another_size_is_named_with_both_sizes(splits):
    item = splits["validation"][0]
    save(item["label"], "L", (5, 4))
    assert problem(splits).startswith(f"{item['label']} has 5x4 pixels, its image {item['image']} 12x10")


def test_sizes_are_compared_after_turning_upright(splits):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(splits["labelled"][0]["image"], exif=exif)
    check_dataset(splits, num_classes=2)


def test_a_mask_with_values_which_are_no_classes_is_named(splits):
    path = splits["test"][0]["label"]
    save(path, "L", (WIDTH, HEIGHT), 7)
    assert problem(splits).startswith(f"{path}: the mask holds the values 7")


def test_binary_masks_of_255_do_not_pass_for_three_classes(splits):
    assert "class indices 0 to 2" in problem(splits, num_classes=3)


def test_an_image_too_large_is_named(splits, monkeypatch):
    monkeypatch.setattr("custom.pixels.images.MAX_PIXELS", WIDTH * HEIGHT - 1)
    assert problem(splits).startswith(f"{splits['labelled'][0]['image']}: 12x10 pixels")


def test_the_first_problem_is_named_and_the_others_counted(splits):
    splits["labelled"][1]["image"] = "/nowhere/1.png"
    splits["unlabelled"][0]["image"] = "/nowhere/2.png"
    splits["test"][0]["label"] = "/nowhere/3.png"
    message = problem(splits)
    assert message.startswith("/nowhere/1.png")
    assert message.endswith("(and 2 more)")


@pytest.mark.parametrize("split", ["labelled", "unlabelled"])
def test_a_training_image_must_not_be_used_for_validation(splits, split):
    path = splits[split][0]["image"]
    splits["validation"].append({"image": path, "label": splits["labelled"][0]["label"]})
    assert problem(splits) == f"{path} is in training and in validation; keep it in one of them"


def test_a_validation_image_must_not_be_tested_through_a_link(splits, tmp_path):
    link = tmp_path / "link.png"
    link.symlink_to(splits["validation"][0]["image"])
    splits["test"].append({"image": str(link)})
    assert problem(splits) == f"{link} is in validation and in test; keep it in one of them"


@pytest.mark.parametrize(
    ("source", "target"),
    [("labelled", "validation"), ("labelled", "test"), ("unlabelled", "test"), ("validation", "test")],
)
def test_a_copy_of_an_image_on_another_side_of_the_split_is_a_leak(splits, tmp_path, source, target):
    copied, copy = splits[source][1 if source == "labelled" else 0]["image"], tmp_path / "another name.png"
    shutil.copy(copied, copy)
    splits[target][0]["image"] = str(copy)
    purposes = {"labelled": "training", "unlabelled": "training"}
    assert problem(splits).startswith(
        f"{copy} in {target} is byte for byte the same image as {copied} in {purposes.get(source, source)}"
    )


@pytest.mark.parametrize(("source", "target"), [("labelled", "labelled"), ("labelled", "unlabelled"), ("test", "test")])
def test_copies_on_one_side_of_the_split_are_no_leak(splits, tmp_path, source, target):
    shutil.copy(splits[source][0]["image"], tmp_path / "copy.png")
    shutil.copy(splits[source][0].get("label", "nothing"), tmp_path / "copy of the mask.png")
    copy = {"image": str(tmp_path / "copy.png"), "label": str(tmp_path / "copy of the mask.png")}
    splits[target].append({"image": copy["image"]} if target == "unlabelled" else copy)
    check_dataset(splits, num_classes=2)


@pytest.mark.parametrize("target", ["labelled", "validation"])
def test_two_images_must_not_have_one_mask(splits, tmp_path, target):
    mask, link = splits["labelled"][0]["label"], tmp_path / "link.png"
    link.symlink_to(mask)
    splits[target][-1]["label"] = str(link)
    assert f"is the mask of {splits['labelled'][0]['image']} and of {splits[target][-1]['image']}" in problem(splits)


def test_no_bar_is_drawn_where_the_standard_error_is_no_terminal(splits, capsys):
    check_dataset(splits, num_classes=2)
    assert capsys.readouterr().err == ""


def palette_mask(path, values, *colours):
    picture = Image.fromarray(np.resize(np.array(values, np.uint8), (HEIGHT, WIDTH)))
    picture.putpalette([channel for colour in colours for channel in colour])
    picture.save(path)


def test_palettes_that_disagree_are_named_with_both_files(splits):
    first, second = (item["label"] for item in splits["labelled"])
    palette_mask(first, [0, 1], (0, 0, 0), (200, 0, 0))
    palette_mask(second, [0, 1], (200, 0, 0), (0, 0, 0))
    message = problem(splits)
    assert message.startswith(f"{first} and {second} have palettes that disagree: index 0")


def test_palettes_of_files_with_one_colour_are_compared_too(splits):
    first, second = splits["labelled"][0]["label"], splits["validation"][0]["label"]
    palette_mask(first, [0, 1], (0, 0, 0), (200, 0, 0))
    palette_mask(second, [0], (200, 0, 0), (0, 0, 0))
    assert f"{first} and {second}" in problem(splits)


def test_a_value_for_undecided_pixels_is_allowed_where_it_is_stated(splits):
    save(splits["labelled"][0]["label"], "L", (WIDTH, HEIGHT), 9)
    assert "holds the values 9" in problem(splits)
    check_dataset(splits, num_classes=2, ignore_value=9)


def test_a_value_above_the_bit_depth_is_named(splits):
    path = splits["unlabelled"][0]["image"]
    Image.fromarray(np.full((HEIGHT, WIDTH), 5000, np.uint16)).save(path)
    check_dataset(splits, num_classes=2, bit_depth=13)
    with pytest.raises(InputError, match="u0.png: the image has values up to 5000"):
        check_dataset(splits, num_classes=2, bit_depth=12)


def test_pipes_do_not_stop_the_check(splits):
    path = splits["labelled"][0]["label"]
    os.unlink(path)
    os.mkfifo(path)
    assert "no regular file" in problem(splits)


class TestClasses:
    @pytest.fixture
    def lines(self, splits, caplog):
        def check(num_classes=2, **values):
            for name, value in values.items():
                for item in splits[name]:
                    save(item["label"], "L", (WIDTH, HEIGHT), value)
            with caplog.at_level(logging.INFO):
                check_dataset(splits, num_classes)
            return [(record.levelname, record.getMessage()) for record in caplog.records]

        return check

    def test_shares_are_logged(self, splits, lines):
        white = np.zeros((HEIGHT, WIDTH), np.uint8)
        white[: HEIGHT // 2] = 255
        for item in splits["labelled"]:
            Image.fromarray(white).save(item["label"])
        assert ("INFO", "labelled: 2 masks: background 50.00%, foreground 50.00% of the pixels") in lines()

    def test_labelled_masks_without_any_foreground_are_a_warning(self, lines):
        found = lines(labelled=0)
        assert any(kind == "WARNING" and "holds any foreground" in line for kind, line in found)
        assert any("2 without foreground" in line for _, line in found)

    def test_masks_of_foreground_alone_are_counted(self, lines):
        assert any("2 with foreground everywhere" in line for _, line in lines(labelled=1))

    def test_a_class_that_no_labelled_mask_holds_is_a_warning_that_names_it(self, splits, lines):
        for split in ("validation", "test"):
            for item in splits[split]:
                save(item["label"], "L", (WIDTH, HEIGHT), 2)
        found = lines(num_classes=3, labelled=1)
        assert (
            "WARNING",
            "no labelled mask holds background, class 2: it cannot be learnt; label images that show it",
        ) in found

    def test_nothing_is_warned_of_where_all_classes_are_there(self, lines):
        assert not [line for kind, line in lines() if kind == "WARNING"]


class TestCheckImages:
    def test_sound_images_pass(self, splits):
        check_images(splits["labelled"])

    def test_the_first_broken_image_is_named_and_the_others_counted(self, splits):
        for item in splits["unlabelled"]:
            with open(item["image"], "wb") as file:
                file.write(b"garbage")
        with pytest.raises(InputError, match=r"u0\.png cannot be read as an image.*\(and 1 more\)"):
            check_images(splits["labelled"] + splits["unlabelled"])
