"""Layouts that `prepare folder` reads, and what it says of those that it does not."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest

from custom.errors import InputError
from custom.prepare import PrepareOptions, prepare_dataset
from tests.prepare.conftest import mask, pairs, picture
from tests.slides.files import write_slide

NAMES = [f"case {number}" for number in range(6)]


@pytest.fixture
def refused(tmp_path):
    """Function (source) -> the line with which it is refused."""

    def check(source):
        with pytest.raises(InputError) as caught:
            prepare_dataset("folder", [source], tmp_path / "out", PrepareOptions(audit=False), show_progress=False)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return check


def everything(prepared):
    return prepared.names("training") | prepared.names("validation") | prepared.names("test")


def labels(prepared):
    return sum("label" in entry for split in ("training", "validation", "test") for entry in prepared.datalist[split])


def files(folder, *names, content=b"x" * 200):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def objects(path, *stripes):
    """A mask for each stripe of four."""
    for stripe in stripes:
        mask(path.with_name(f"{path.stem}{stripe}.png"), [255 * (place == stripe) for place in range(4)])


def test_masks_of_several_files_are_joined_and_counted(prepare, tmp_path):
    pairs(tmp_path / "own", NAMES, values=(0, 0, 0, 255))
    mask(tmp_path / "own/masks/case 1_mask_1.png", (255, 0, 0, 0))
    prepared = prepare("folder", tmp_path / "own")
    assert prepared.values("case 1")[0].tolist() == [1] * 4 + [0] * 8 + [1] * 4
    assert any("1 images have several masks, which are joined (case 1.png" in line for line in prepared.result.warnings)


def test_a_folder_a_sample_gives_the_joined_masks_of_each(prepare, tmp_path):
    for name in NAMES:
        picture(tmp_path / "own" / name / "images" / f"{name}.png")
        objects(tmp_path / "own" / name / "masks" / f"{name[-1]}ab.png", 0, 2)
    prepared = prepare("folder", tmp_path / "own")
    assert labels(prepared) == len(NAMES)
    assert prepared.values("case 3/case 3")[0].tolist() == [1] * 4 + [0] * 4 + [1] * 4 + [0] * 4


def test_a_sample_without_masks_is_unlabelled(prepare, tmp_path):
    for name in NAMES:
        picture(tmp_path / "own" / name / "images" / "image.png")
        if name != NAMES[0]:
            objects(tmp_path / "own" / name / "masks" / "x.png", 1)
    prepared = prepare("folder", tmp_path / "own")
    assert {"image": "images/case 0/image.png"} in prepared.datalist["training"]
    assert labels(prepared) == len(NAMES) - 1


def test_images_and_masks_without_a_partner_are_counted(prepare, tmp_path):
    pairs(tmp_path / "own", NAMES)
    for name in ("u", "v"):
        picture(tmp_path / "own/images" / f"{name}.png")
    mask(tmp_path / "own/masks/x.png")
    mask(tmp_path / "own/elsewhere/masks/y.png")
    warnings = prepare("folder", tmp_path / "own").result.warnings
    assert "2 masks have no image (first x.png) and 2 images have no mask (first u.png)." in warnings


def test_where_no_name_fits_an_image_and_a_mask_are_shown(refused, tmp_path):
    for number in range(4):
        picture(tmp_path / "own/images" / f"scan {number}.png")
        mask(tmp_path / "own/masks" / f"mask_of_{number}.png")
    line = refused(tmp_path / "own")
    assert "4 images and no mask for any of them: 4 masks" in line
    assert "image images/scan 0.png and mask masks/mask_of_0.png; a mask has the name of its image" in line


@pytest.mark.parametrize(
    "image, mask_", [("a.png", "a_mask.png"), ("images/a.png", "labels/a.png"), ("x/a.png", "a.png")]
)
def test_another_layout_is_described_beside_the_one_that_is_read(refused, tmp_path, image, mask_):
    picture(tmp_path / "own" / image)
    mask(tmp_path / "own" / mask_)
    line = refused(tmp_path / "own")
    assert 'looked for the folders "images" and "masks"' in line
    assert "(2 .png)" in line


def test_files_and_folders_of_the_system_are_passed_over(prepare, tmp_path):
    pairs(tmp_path / "own", NAMES)
    files(
        tmp_path / "own",
        *(f"{folder}/{name}" for folder in ("images", "masks") for name in ("._case 0.png", "Thumbs.db", ".DS_Store")),
        *(".git/images/a.png", "__MACOSX/images/b.png", "images/__MACOSX/c.png", "images/.x.png"),
    )
    assert everything(prepare("folder", tmp_path / "own")) == set(NAMES)


def test_names_match_however_accents_are_written(prepare, tmp_path):
    for number in range(5):
        picture(tmp_path / "own/images" / f"l\u00e9sion {number}.png")
        mask(tmp_path / "own/masks" / f"le\u0301sion {number}_mask.png")
    assert labels(prepare("folder", tmp_path / "own")) == 5


ODD_NAMES = [
    "a.b.c", "#1", "50%", "$HOME", "$__import__('os').abort()", "@image", "-rf", "\N{GRINNING FACE}", "x" * 240,
    "quote'\"", "{a}", "a;b,c", "~", "%s",
]  # fmt: skip


def test_odd_names_stay_what_they_are(prepare, tmp_path):
    assert everything(prepare("folder", pairs(tmp_path / "own", ODD_NAMES))) == set(ODD_NAMES)


@pytest.mark.parametrize("where", ["images", "masks"])
@pytest.mark.parametrize(
    ("suffix", "words"),
    [(".json", "annotation as JSON"), (".mha", "volume"), (".webp", "picture in another"),
     (".npy", "array"), (".zip", "archive"), (".TXT", "annotation as text")],
)  # fmt: skip
def test_formats_that_are_not_read_are_named_with_what_to_do(refused, tmp_path, where, suffix, words):
    pairs(tmp_path / "own", NAMES)
    for path in (tmp_path / "own" / where).iterdir():
        path.rename(path.with_suffix(suffix))
    line = refused(tmp_path / "own")
    assert f"case 0{suffix} and 5 more ({words}" in line
    assert "read are .png, .jpg" in line
    assert "0 images" not in line


def test_annotations_beside_the_images_are_named(refused, tmp_path):
    for name in NAMES:
        picture(tmp_path / "own/images" / f"{name}.png")
        files(tmp_path / "own/images", f"{name}.json")
    assert "case 0.json and 5 more (annotation as JSON" in refused(tmp_path / "own")


def test_masks_of_which_some_are_not_read_give_a_warning(prepare, tmp_path):
    pairs(tmp_path / "own", NAMES)
    for name in NAMES[:2]:
        (tmp_path / "own/masks" / f"{name}.png").rename(tmp_path / "own/masks" / f"{name}.json")
    files(tmp_path / "own", "images/readme.txt", "masks/labels.json")
    warnings = prepare("folder", tmp_path / "own").result.warnings
    assert any(line.startswith("Not read are case 0.json and 1 more (annotation as JSON") for line in warnings)


def test_archives_in_the_folder_are_named(refused, tmp_path):
    assert "images.zip and 1 more (archive): unpack it" in refused(
        files(tmp_path / "own", "images.zip", "masks.tar.gz")
    )


def test_a_pipe_as_the_source_is_refused_at_once(refused, tmp_path):
    os.mkfifo(tmp_path / "data.zip")
    assert "data.zip is no regular file" in refused(tmp_path / "data.zip")


def test_pipes_of_other_kinds_in_the_folder_are_passed_over(prepare, tmp_path):
    os.mkfifo(pairs(tmp_path / "own", NAMES) / "images" / "pipe")
    assert everything(prepare("folder", tmp_path / "own")) == set(NAMES)


def test_links_upwards_do_not_make_images_of_masks(prepare, tmp_path):
    (pairs(tmp_path / "own", NAMES) / "images" / "up").symlink_to("..")
    assert everything(prepare("folder", tmp_path / "own")) == set(NAMES)


def test_names_that_are_no_text_do_not_break_the_report(prepare, tmp_path):
    mask(pairs(tmp_path / "own", NAMES) / "masks" / os.fsdecode(b"\xff.png"))
    assert "1 masks have no image (first \\udcff.png)." in prepare("folder", tmp_path / "own").result.warnings


class TestIdenticalImages:
    def test_copies_stay_on_one_side_of_a_drawn_split(self, prepare, tmp_path):
        names = [f"{letter}{copy}" for letter in "abcdefgh" for copy in (0, 1)]
        own = pairs(tmp_path / "own", names)
        for letter in "abcdefgh":
            shutil.copy(own / "images" / f"{letter}0.png", own / "images" / f"{letter}1.png")
        for seed in range(3):
            prepared = prepare("folder", own, output=str(seed), seed=seed)
            sides = [{name[0] for name in prepared.names(split)} for split in ("training", "validation", "test")]
            assert sum(map(len, sides)) == 8
            assert all(sides)

    def test_copies_of_published_test_and_validation_images_are_left_out(self, prepare, tmp_path):
        for part, names in (("train", "abcdef"), ("val", "gh"), ("test", "ij")):
            pairs(tmp_path / "own" / part, names)
        own = tmp_path / "own"
        shutil.copy(own / "test/images/i.png", own / "train/images/a.png")
        shutil.copy(own / "test/images/j.png", own / "val/images/g.png")
        shutil.copy(own / "val/images/h.png", own / "train/images/b.png")
        prepared = prepare("folder", own)
        assert prepared.names("training") == {f"train/{name}" for name in "cdef"}
        assert prepared.names("validation") == {"val/h"}
        assert prepared.names("test") == {"test/i", "test/j"}
        assert any(
            line.startswith("3 images were left out: each is byte for byte") for line in prepared.result.warnings
        )
        assert not (prepared.folder / "images/train/a.png").exists()
        assert not (prepared.folder / "masks/train/a.png").exists()


def test_few_images_give_a_warning_and_many_none(prepare, tmp_path):
    few = prepare("folder", pairs(tmp_path / "few", NAMES)).result.warnings
    assert any(line.startswith("Few images: the choice of weights on 1 and the test on 1") for line in few)
    names = [str(number) for number in range(64)]
    many = prepare("folder", pairs(tmp_path / "many", names), output="b", validation_share=0.34, test_share=0.34)
    assert not any(line.startswith("Few images") for line in many.result.warnings)


def test_the_size_of_a_pixel_is_stated_in_the_datalist_and_does_not_survive_scaling(prepare, tmp_path):
    source = pairs(tmp_path / "own", [f"tile {number}" for number in range(6)])
    prepared = prepare("folder", source, microns_per_pixel=0.25)
    assert (prepared.datalist["microns_per_pixel"], prepared.datalist["fixed_scale"]) == (0.25, True)
    with pytest.raises(InputError, match="leave out --microns-per-pixel or --max-side"):
        prepare("folder", source, microns_per_pixel=0.25, max_side=512)


def test_a_slide_is_named_with_what_to_do(refused, tmp_path):
    write_slide(tmp_path / "own" / "images" / "a.svs", np.zeros((64, 64, 3), np.uint8), levels=(1,), aperio=True)
    mask(tmp_path / "own" / "masks" / "a.png", size=(64, 64))
    message = refused(tmp_path / "own")
    assert "a.svs (whole slide): cut it into pictures with masks for training" in message
