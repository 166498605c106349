from __future__ import annotations

import os
import shutil
import zipfile
from functools import partial

import numpy as np
import pytest
import tifffile
from PIL import Image

from custom.data import read_facts
from custom.errors import InputError
from custom.prepare import PrepareOptions, prepare_dataset, run
from custom.prepare.archives import ArchiveLimits
from custom.prepare.duplicates.near_duplicate import NearDuplicate
from custom.prepare.sources import SOURCES
from tests.prepare.conftest import mask, pairs, picture


@pytest.fixture
def refused(tmp_path, message_of):
    """Prepare what must be refused, and check that nothing is left of it; gives the message."""

    def check(dataset, *sources, output="prepared", **options):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(InputError) as caught:
            options = PrepareOptions(**{"audit": False, **options})
            prepare_dataset(dataset, sources, tmp_path / output, options, show_progress=False)
        assert sorted(tmp_path.rglob("*")) == before
        return message_of(caught)

    return check


def test_images_stay_the_files_they_were(prepare, own):
    prepared = prepare("folder", own)
    for path in (own / "images").iterdir():
        assert (prepared.folder / "images" / path.name).read_bytes() == path.read_bytes()


def test_masks_become_class_indices(prepare, own):
    assert np.array_equal(prepare("folder", own).values("case 3"), [[0] * 8 + [1] * 8] * 12)


def test_splits_subsets_seed_and_classes_are_written_down(prepare, own):
    prepared = prepare("folder", own, seed=4, labelled_counts=("3",))
    assert [len(prepared.names(split)) for split in ("training", "validation", "test")] == [7, 1, 2]
    assert prepared.datalist["seed"] == 4
    assert prepared.datalist["num_classes"] == 2
    assert prepared.datalist["classes"] == {"0": 0, "255": 1}
    subsets = prepared.datalist["labelled_subsets"]
    assert {name: len(images) for name, images in subsets.items()} == {
        "1%": 1, "5%": 1, "10%": 1, "20%": 2, "30%": 3, "3": 3, "50%": 4, "100%": 7,
    }  # fmt: skip


def test_every_file_has_its_fingerprint(prepare, own):
    fingerprints = prepare("folder", own).datalist["fingerprints"]
    assert len(fingerprints) == 20
    assert len(set(fingerprints.values())) == 11  # the masks are alike


def test_a_second_run_does_nothing(prepare, own, monkeypatch):
    prepare("folder", own)
    monkeypatch.setattr(run, "_prepare", lambda *_: pytest.fail("prepared again"))
    assert prepare("folder", own).result.was_there


def test_the_same_source_gives_the_same_files(prepare, own):
    first, second = prepare("folder", own), prepare("folder", own, output="again")
    for name in ("datalist.json", "report.md", "report/examples.png"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_another_request_needs_overwrite(prepare, own, refused):
    prepare("folder", own)
    assert "--overwrite" in refused("folder", own, seed=1)
    assert prepare("folder", own, seed=1, overwrite=True).datalist["seed"] == 1


def test_a_changed_source_needs_overwrite(prepare, own, refused):
    prepare("folder", own)
    picture(own / "images" / "new.png")
    assert "--overwrite" in refused("folder", own)


def test_a_damaged_folder_needs_overwrite(prepare, own, refused):
    (prepare("folder", own).folder / "masks" / "case 1.png").unlink()
    assert "--overwrite" in refused("folder", own)
    prepare("folder", own, overwrite=True)


def test_a_folder_of_others_is_never_replaced(prepare, own, tmp_path):
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="files of others"):
        prepare("folder", own, overwrite=True)
    assert (tmp_path / "prepared" / "thesis.txt").read_text() == "years of work"


def test_files_added_to_a_prepared_folder_are_never_lost(prepare, own):
    folder = prepare("folder", own).folder
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"notes\.txt"):
        prepare("folder", own, seed=1, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


def test_an_empty_folder_is_used(prepare, own, tmp_path):
    (tmp_path / "prepared").mkdir()
    prepare("folder", own)


def test_what_a_killed_run_left_is_cleared_away(prepare, own, tmp_path):
    left = tmp_path / ".prepared.unfinished"
    left.mkdir()
    (left / "unfinished.txt").touch()
    (left / "half.png").touch()
    prepare("folder", own)
    assert not left.exists()


def test_two_commands_do_not_prepare_one_folder_at_once(prepare, refused, own, monkeypatch):
    messages = []
    draw = run._draw_pictures
    monkeypatch.setattr(run, "_draw_pictures", lambda *a: (messages.append(refused("folder", own)), draw(*a))[1])
    prepared = prepare("folder", own)
    assert "is being prepared by another command" in messages[0]
    assert len(prepared.names("training")) == 7


def test_an_interrupted_run_leaves_nothing(own, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_draw_pictures", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_dataset("folder", [own], tmp_path / "prepared", PrepareOptions(audit=False), show_progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_an_archive_is_unpacked_and_vanishes(prepare, own, tmp_path):
    archive = shutil.make_archive(tmp_path / "Own Data", "zip", tmp_path, "own")
    shutil.rmtree(own)
    assert len(prepare("folder", archive).names("training")) == 7
    assert {path.name for path in tmp_path.iterdir()} == {"Own Data.zip", "prepared"}


def test_messages_name_the_archive_instead_of_where_it_was_unpacked(prepare, refused, own, tmp_path):
    (own / "images" / "case 0.png").write_bytes(b"garbage")
    archive = shutil.make_archive(tmp_path / "a", "zip", own)
    assert f"{archive}/images/case 0.png cannot be read" in prepare("folder", archive).report
    picture(own / "images" / "case 1.jpg")
    shutil.make_archive(tmp_path / "a", "zip", own)
    assert f"{archive}/images/case 1" in refused("folder", archive, output="other")


def test_the_old_folder_comes_back_if_the_new_one_cannot_be_put_there(prepare, own, monkeypatch):
    folder = prepare("folder", own).folder
    rename = os.rename

    def refuse(source, target):
        if source.name == "prepared" and target == folder and source.parent.name.endswith("unfinished"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(InputError, match="No space left"):
        prepare("folder", own, seed=1, overwrite=True)
    assert (folder / "datalist.json").is_file()


def test_an_archive_over_the_limit_leaves_nothing(own, tmp_path):
    archive = shutil.make_archive(tmp_path / "a", "zip", own)
    with pytest.raises(InputError, match="--max-archive-gb"):
        prepare_dataset("folder", [archive], tmp_path / "prepared", limits=ArchiveLimits(total_bytes=2000))
    assert not [path for path in tmp_path.iterdir() if "prepared" in path.name]


def test_the_wrong_data_set_is_named_with_what_is_there(refused, own):
    message = refused("busi", own)
    assert "benign (1)_mask.png" in message
    assert "holds images, masks (20 .png)" in message


@pytest.mark.parametrize("dataset", ["busi", "kvasir", "polyp", "isic2018", "bcss", "acdc", "folder"])
def test_an_empty_source_is_a_clear_line(refused, tmp_path, dataset):
    (tmp_path / "empty").mkdir()
    assert "holds nothing" in refused(dataset, tmp_path / "empty")


def test_wrong_arguments_are_clear_lines(refused, own, tmp_path):
    (own / "readme.txt").touch()
    assert "choose one of busi" in refused("bus", own)
    assert "does not exist" in refused("folder", tmp_path / "nowhere")
    assert "no folder and no .zip" in refused("folder", own / "readme.txt")
    assert "lies in the source" in refused("folder", own, output="own/prepared")
    assert "--mask-colours is for" in refused("busi", own, mask_colours="0=0 1=1")
    assert "leave nothing" in refused("folder", own, validation_share=0.5, test_share=0.5)


@pytest.mark.parametrize("kept", [1, 2])
def test_few_masks_are_enough(prepare, own, kept):
    for path in sorted((own / "masks").iterdir())[kept:]:
        path.unlink()
    prepared = prepare("folder", own)
    assert len(prepared.names("training")) == 10
    assert len(prepared.datalist["labelled_subsets"]["100%"]) == kept
    assert any("No test images" in warning for warning in prepared.result.warnings)


def test_no_mask_is_a_clear_line(refused, own):
    for path in (own / "masks").iterdir():
        path.unlink()
    assert "10 images and no mask" in refused("folder", own)


def test_broken_files_and_other_sizes_are_reported(prepare, own):
    (own / "images" / "case 0.png").write_bytes(b"garbage")
    mask(own / "masks" / "case 1.png", size=(8, 8))
    mask(own / "masks" / "nobody.png")
    (own / "masks" / "case 2.png").unlink()
    prepared = prepare("folder", own)
    assert len(prepared.datalist["fingerprints"]) == 16
    assert "Unreadable images, left out: 1 (" in prepared.report
    assert "kept without label: 1 (" in prepared.report
    assert "Masks without an image, left out: 1 (nobody.png)" in prepared.report
    assert "Images without a usable mask, unlabelled: 2 (case 1; case 2)" in prepared.report
    kinds = ("Unreadable images", "Images whose mask is", "1 masks have no image (first nobody.png) and 1 images")
    assert [kind for kind in kinds for warning in prepared.result.warnings if warning.startswith(kind)] == list(kinds)


def test_images_whose_masks_cannot_be_used_are_unlabelled_training_images(prepare, own):
    spoilt = [f"case {number}" for number in range(7)]
    for name in spoilt[:3]:
        mask(own / "masks" / f"{name}.png", size=(8, 8))
    for name in spoilt[3:]:
        (own / "masks" / f"{name}.png").write_bytes(b"garbage")
    prepared = prepare("folder", own, validation_share=0.34, test_share=0.34)
    unlabelled = {entry["image"] for entry in prepared.datalist["training"] if "label" not in entry}
    assert unlabelled == {f"images/{name}.png" for name in spoilt}
    assert [len(prepared.names(split)) for split in ("training", "validation", "test")] == [8, 1, 1]
    (warning,) = (line for line in prepared.result.warnings if "kept without label" in line)
    assert "kept without label: 7 (" in warning
    assert "case 0.png has 8x8 pixels, its image 16x12" in warning
    assert "case 6.png cannot be read" in prepared.report


def test_an_image_published_for_the_test_is_left_out_when_its_mask_cannot_be_used(prepare, tmp_path):
    for part, names in (("train", "abcd"), ("val", "efi"), ("test", "gh")):
        pairs(tmp_path / "own" / part, names)
    (tmp_path / "own" / "val" / "masks" / "i.png").unlink()
    for name in ("train/masks/a", "val/masks/e", "test/masks/g"):
        mask(tmp_path / "own" / f"{name}.png", size=(8, 8))
    prepared = prepare("folder", tmp_path / "own")
    assert prepared.names("training") == {"train/a", "train/b", "train/c", "train/d"}
    assert (prepared.names("validation"), prepared.names("test")) == ({"val/f"}, {"test/h"})
    assert "without a usable mask, left out: 3 (" in prepared.report
    assert "val/images/i.png has no mask" in prepared.report


def test_only_unusable_masks_are_a_clear_line(refused, own):
    for path in (own / "masks").iterdir():
        path.write_bytes(b"garbage")
    assert "case 0.png cannot be read as an image; replace the file" in refused("folder", own)


def test_two_images_of_one_name_are_a_clear_line(refused, own):
    picture(own / "images" / "Case 1.jpg")
    assert "two files of one name" in refused("folder", own)


def test_one_name_in_two_folders_stays_two_images(prepare, tmp_path):
    for part in ("a", "b"):
        pairs(tmp_path / "own" / part, ["1", "2"])
    prepared = prepare("folder", tmp_path / "own")
    assert prepared.names("training") | prepared.names("validation") | prepared.names("test") == {
        "a/1", "a/2", "b/1", "b/2",
    }  # fmt: skip


def test_jpeg_masks_are_parted_at_half_and_counted(prepare, tmp_path):
    for name in "abcd":
        picture(tmp_path / "own/images" / f"{name}.jpg", (22, 12))
        mask(tmp_path / "own/masks" / f"{name}.jpg", (0, 255), (22, 12), quality=60)
    values = np.asarray(Image.open(tmp_path / "own/masks/a.jpg"))
    prepared = prepare("folder", tmp_path / "own")
    assert np.array_equal(prepared.values("a"), (values > 127).astype(np.uint8))
    odd = 4 * int(((values != 0) & (values != 255)).sum())
    assert odd > 0
    assert f"({odd} pixels" in prepared.report


def test_colour_masks_need_their_meaning(prepare, refused, own):
    for path in (own / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(path))[..., None] * np.array([1, 0, 0], np.uint8)).save(path)
    assert "--mask-colours" in refused("folder", own)
    prepared = prepare("folder", own, mask_colours="0,0,0=0 255,0,0=1")
    assert np.unique(prepared.values("case 1")).tolist() == [0, 1]


def test_indices_of_a_palette_are_classes(prepare, own):
    for path in (own / "masks").iterdir():
        picture_of_indices = Image.fromarray(np.tile(np.repeat([0, 1, 2, 3], 4).astype(np.uint8), (12, 1)))
        picture_of_indices.putpalette([0, 0, 0, 200, 30, 30, 30, 200, 30, 9, 9, 99])
        picture_of_indices.save(path)
    prepared = prepare("folder", own)
    assert prepared.datalist["num_classes"] == 4
    assert prepared.values("case 1")[0].tolist() == np.repeat([0, 1, 2, 3], 4).tolist()


def test_12_bits_stored_in_16_fill_8(prepare, own):
    for path in (own / "images").iterdir():
        Image.fromarray(np.tile(np.linspace(0, 4095, 16).astype(np.uint16), (12, 1))).save(path)
    prepared = prepare("folder", own)
    image = np.asarray(Image.open(prepared.folder / "images" / "case 1.png"))
    assert image.dtype == np.uint8
    assert image[0].tolist() == np.rint(np.linspace(0, 4095, 16).astype(int) / 4095 * 255).tolist()


def test_the_bits_that_16_bit_images_use_are_written_down(prepare, own):
    assert "bit_depth" not in prepare("folder", own).datalist
    for number, path in enumerate((own / "images").iterdir()):
        Image.fromarray(np.full((12, 16), 4095 if number == 3 else 90, np.uint16)).save(path)
    prepared = prepare("folder", own, overwrite=True)
    assert prepared.datalist["bit_depth"] == 12


def test_classes_and_their_shares_are_reported(prepare, own):
    lines = prepare("folder", own).result.classes
    assert lines == [
        "class 0 (background): 50.00% of the pixels, in 10 of 10 masks; in the source 0",
        "class 1 (foreground): 50.00% of the pixels, in 10 of 10 masks; in the source 255",
    ]


def test_undecided_pixels_are_asked_about_and_kept_undecided(prepare, refused, own):
    for path in (own / "masks").iterdir():
        mask(path, (0, 1, 255, 2))
    assert "--ignore-value 255" in refused("folder", own)
    prepared = prepare("folder", own, ignore_value=255)
    assert (prepared.datalist["num_classes"], prepared.datalist["ignore_value"]) == (3, 255)
    assert prepared.values("case 1")[0].tolist() == np.repeat([0, 1, 255, 2], 4).tolist()
    assert "undecided" in prepared.result.classes[-1]


def test_an_ignore_value_is_checked(refused, own):
    assert "--ignore-value is 0" in message_of_options(ignore_value=0)
    assert "--ignore-value is for the data set folder" in refused("busi", own, ignore_value=255)


def message_of_options(**options):
    with pytest.raises(InputError) as caught:
        PrepareOptions(**options)
    return str(caught.value)


def test_masks_of_foreground_alone_are_reported_and_warned_of(prepare, own):
    for number in (1, 2):
        mask(own / "masks" / f"case {number}.png", (255,))
    mask(own / "masks" / "case 3.png", (0,))
    prepared = prepare("folder", own)
    assert "Masks with foreground everywhere: 2 (case 1; case 2)" in prepared.report
    assert "Masks without foreground: 1 (case 3)" in prepared.report
    assert any("2 of 10 masks with foreground everywhere" in warning for warning in prepared.result.warnings)


def test_pages_of_masks_are_joined_with_a_warning(prepare, own):
    (own / "masks" / "case 0.png").unlink()
    pages = np.zeros((2, 12, 16), np.uint8)
    pages[0, 0, 0] = pages[1, 5, 5] = 255
    tifffile.imwrite(own / "masks" / "case 0.tif", pages, photometric="minisblack")
    prepared = prepare("folder", own)
    assert np.argwhere(prepared.values("case 0")).tolist() == [[0, 0], [5, 5]]
    assert any("1 masks are TIFFs of several pages" in warning for warning in prepared.result.warnings)


def test_a_mask_that_may_be_meant_in_several_ways_stops_everything(refused, own):
    (own / "masks" / "case 0.png").unlink()
    tifffile.imwrite(own / "masks" / "case 0.tif", np.eye(12, 16, dtype=np.uint8), photometric="miniswhite")
    assert "case 0.tif: the mask counts from white" in refused("folder", own)


def test_several_masks_of_an_image_that_clash_are_named(refused, tmp_path):
    """BUSI has files of several lesions of an image; of two classes they would clash."""
    folder = pairs(tmp_path / "own", "abc", values=(0, 1, 2))
    two = np.zeros((2, 12, 16), np.uint8)
    two[0, 0, 0], two[1, 0, 0] = 1, 2
    (folder / "masks" / "a.png").unlink()
    tifffile.imwrite(folder / "masks" / "a.tif", two, photometric="minisblack")
    assert "a.tif: two of the 2 pages" in refused("folder", folder)


def test_greys_that_fall_with_the_index_are_read_as_given(prepare, refused, own):
    for path in (own / "masks").iterdir():
        picture_of_indices = Image.fromarray(np.tile(np.repeat([0, 1], 8).astype(np.uint8), (12, 1)))
        picture_of_indices.putpalette([255, 255, 255, 0, 0, 0])
        picture_of_indices.save(path)
    assert "--mask-colours" in refused("folder", own)
    assert prepare("folder", own, mask_colours="255=0 0=1").values("case 1")[0].tolist() == [0] * 8 + [1] * 8


@pytest.mark.parametrize("stored_mask", [True, False])
def test_a_mask_follows_the_orientation_of_its_photograph(prepare, tmp_path, stored_mask):
    """Orientation 6: the photograph is shown turned by a quarter clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "abc":
        picture(tmp_path / "own/images" / f"{name}.jpg", exif=exif)
        mask(tmp_path / "own/masks" / f"{name}.png", size=(16, 12) if stored_mask else (12, 16))
    values = prepare("folder", tmp_path / "own").values("a")
    assert values.shape == (16, 12)
    turned = [[0] * 12] * 8 + [[1] * 12] * 8  # the left half has come to lie on top
    upright = [[0] * 6 + [1] * 6] * 16
    assert values.tolist() == (turned if stored_mask else upright)


def test_large_images_are_scaled_down_with_their_masks(prepare, tmp_path):
    for name in "abc":
        picture(tmp_path / "own/images" / f"{name}.png", (64, 48))
        mask(tmp_path / "own/masks" / f"{name}.png", size=(64, 48))
    prepared = prepare("folder", tmp_path / "own", max_side=32)
    assert Image.open(prepared.folder / "images" / "a.png").size == (32, 24)
    assert prepared.values("a")[0].tolist() == [0] * 16 + [1] * 16


def test_an_image_too_large_for_training_names_the_option(refused, own, monkeypatch):
    monkeypatch.setattr("custom.prepare.inspection.MAX_PIXELS", 100)
    assert "--max-side" in refused("folder", own)


def test_an_image_too_large_to_open_is_left_out(prepare, own, monkeypatch):
    monkeypatch.setattr("custom.pixels.images.MAX_SOURCE_PIXELS", 2000)
    picture(own / "images" / "case 0.png", (50, 50))
    prepared = prepare("folder", own)
    assert "50x50 pixels are more than 2000" in prepared.report


def test_links_to_data_elsewhere_are_followed(prepare, own, tmp_path):
    (tmp_path / "linked").mkdir()
    for name in ("images", "masks"):
        os.symlink(own / name, tmp_path / "linked" / name.upper())
    assert len(prepare("folder", tmp_path / "linked").names("training")) == 7


def test_a_zip_with_a_path_outside_leaves_nothing(refused, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as package:
        package.writestr("images/1.png", b"")
        package.writestr("../evil.png", b"")
    assert "leads out" in refused("folder", tmp_path / "a.zip")


class TestAudit:
    """Near-duplicates; the search itself is replaced: every image matches its neighbour by name."""

    @pytest.fixture(autouse=True)
    def neighbours(self, monkeypatch):
        make = partial(NearDuplicate, kind="same", distance=0.1)
        monkeypatch.setattr(
            "custom.prepare.audit.find_near_duplicates",
            lambda paths, _: [make(first=first, second=first + 1) for first in range(0, len(paths) - 1, 2)],
        )

    def test_pairs_are_reported_and_drawn(self, prepare, own):
        prepared = prepare("folder", own, audit=True)
        assert "5 pairs, " in prepared.report
        assert (prepared.folder / "report" / "near_duplicates.png").is_file()

    def test_groups_of_near_duplicates_stay_together(self, prepare, own):
        prepared = prepare("folder", own, audit=True, group_duplicates=True, test_share=0.4)
        assert "5 pairs, 0 of them across splits" in prepared.report
        side = {name: split for split in ("training", "validation", "test") for name in prepared.names(split)}
        assert all(side[f"case {n}"] == side[f"case {n + 1}"] for n in range(0, 10, 2))


class TestFacts:
    """What `prepare` writes about the data set, as `read_facts` reads it."""

    @pytest.fixture
    def facts(self, prepare):
        return lambda *arguments, **options: read_facts(prepare(*arguments, **options).folder / "datalist.json")

    def test_a_known_data_set_has_a_name_and_named_classes(self, facts, tmp_path):
        for number in range(1, 6):
            picture(tmp_path / "busi" / f"benign ({number}).png")
            mask(tmp_path / "busi" / f"benign ({number})_mask.png", (255, 0, 255, 0))
        busi = facts("busi", tmp_path / "busi")
        assert (busi.name, busi.class_names) == ("BUSI", ("background", "lesion"))
        assert busi.one_connected_component  # known, whatever these masks show

    def test_a_folder_gives_its_name_and_numbers_for_classes(self, facts, own):
        found = facts("folder", own)
        assert (found.name, found.class_names, found.num_classes) == ("own", ("background", "foreground"), 2)

    @pytest.mark.parametrize(("values", "expected"), [((0, 255), True), ((0, 255, 0, 255), False)])
    def test_connected_pieces_are_measured_on_a_folder_of_ones_own(self, facts, own, values, expected):
        for path in (own / "masks").iterdir():
            mask(path, values)
        assert facts("folder", own).stated_one_connected_component is expected

    def test_masks_of_the_test_do_not_count_for_connected_pieces(self, facts, tmp_path):
        pairs(tmp_path / "own" / "train", "abc")
        for part in ("val", "test"):
            pairs(tmp_path / "own" / part, "abc", values=(0, 255, 0, 255))
        assert facts("folder", tmp_path / "own").stated_one_connected_component is True

    @pytest.mark.parametrize("stated", [True, False])
    def test_the_user_may_state_whether_a_class_is_one_piece(self, facts, own, stated):
        assert facts("folder", own, one_connected_component=stated).stated_one_connected_component is stated

    def test_a_known_data_set_is_not_asked(self, refused, own):
        assert "--several-components are for" in refused("busi", own, one_connected_component=False)

    def test_the_report_names_the_pieces(self, prepare, own):
        assert "Each class is one connected piece per image." in prepare("folder", own).report


def test_every_known_data_set_states_the_rule_of_its_bundle():
    stated = {name: source.one_connected_component for name, source in SOURCES.items()}
    assert [name for name, value in stated.items() if value is None] == ["acdc", "folder"]
    assert [name for name, value in stated.items() if value is False] == ["bcss"]
