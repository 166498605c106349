from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps
from scipy.ndimage import gaussian_filter

from custom.drawing.palette import DIFFERENCE_COLOUR
from custom.errors import InputError
from custom.prepare.duplicates import picture as contact_sheet
from custom.prepare.duplicates.near_duplicate import NearDuplicate
from custom.prepare.duplicates.picture import draw_contact_sheet
from custom.prepare.duplicates.search import (
    duplicate_groups,
    find_near_duplicates,
    main,
    write_tables,
)

WIDTH, HEIGHT = 120, 96


def scene(seed, width=WIDTH, height=HEIGHT):
    """Smoothed noise, from coarse to fine, with a dark ellipse in the middle which all scenes share."""
    random = np.random.RandomState(seed)
    layers = [gaussian_filter(random.randn(height, width), sigma) * sigma for sigma in (1.5, 3, 6)]
    picture = Image.fromarray(np.clip(128 + 60 * sum(layers), 20, 235).astype(np.uint8))
    ImageDraw.Draw(picture).ellipse((width * 0.4, height * 0.4, width * 0.6, height * 0.6), fill=30)
    return picture


@pytest.fixture
def save(tmp_path):
    """Function (images) -> the paths of their PNG files."""

    def save_all(*images):
        paths = [tmp_path / f"{number}.png" for number in range(len(images))]
        for image, path in zip(images, paths, strict=True):
            image.save(path)
        return paths

    return save_all


@pytest.fixture
def find(save):
    """Function (images) -> what `find_near_duplicates` finds in their files."""
    return lambda *images: find_near_duplicates(save(*images), show_progress=False)


def crop(picture, left, top, right, bottom):
    """The part of `picture` between shares of its sides."""
    width, height = picture.size
    return picture.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))


def with_gamma(picture, gamma):
    return picture.point([round(255 * (grey / 255) ** gamma) for grey in range(256)])


def with_text(picture):
    marked = picture.copy()
    ImageDraw.Draw(marked).text((5, 5), "LEFT BREAST", fill=255)
    ImageDraw.Draw(marked).line((30, 40, 90, 60), fill=255, width=2)
    return marked


def recompressed(picture, folder):
    picture.save(folder / "scene.jpg", quality=30)
    return Image.open(folder / "scene.jpg")


# which images count as duplicates


def test_unrelated_scenes_are_no_duplicates_although_they_share_an_outline(find):
    assert find(*(scene(seed) for seed in range(30))) == []


def test_scenes_which_share_a_ruler_and_a_dark_border_are_no_duplicates(find):
    def bordered(seed):
        picture = ImageOps.expand(scene(seed), (12, 12, 0, 0), 0)
        ruler = ImageDraw.Draw(picture)
        for x in range(20, 120, 10):
            ruler.line((x, 90, x, 100), fill=255, width=2)
        return picture

    assert find(*(bordered(seed) for seed in range(8))) == []


def test_a_copied_file_is_an_exact_file(save, tmp_path):
    paths = save(scene(0), scene(1))
    paths.append(shutil.copy(paths[0], tmp_path / "copy.png"))
    assert find_near_duplicates(paths, show_progress=False) == [NearDuplicate(0, 2, "exact file", 0.0)]


def test_equal_pixels_in_another_format_are_the_same_pixels(save, tmp_path):
    paths = save(scene(0), scene(1))
    scene(1).convert("RGB").save(tmp_path / "colour.bmp")
    found = find_near_duplicates([*paths, tmp_path / "colour.bmp"], show_progress=False)
    assert found == [NearDuplicate(1, 2, "same pixels", 0.0)]


def test_equal_bytes_in_another_shape_are_not_the_same_pixels(find):
    black = np.zeros((20, 30), dtype=np.uint8)
    assert find(Image.fromarray(black), Image.fromarray(black.T)) == []


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("same", lambda picture: picture.point(lambda grey: grey * 0.6)),
        ("same", lambda picture: picture.point(lambda grey: min(grey + 20, 255))),
        ("same", lambda picture: with_gamma(picture, 0.5)),
        ("same", lambda picture: with_gamma(picture, 2)),
        ("same", with_text),
        ("same", lambda picture: picture.resize((77, 60))),
        ("same", lambda picture: picture.convert("RGB").rotate(2, Image.Resampling.BILINEAR)),
        ("flipped", ImageOps.mirror),
        ("flipped", ImageOps.flip),
        ("flipped", lambda picture: picture.transpose(Image.Transpose.TRANSPOSE)),
        ("flipped", lambda picture: picture.transpose(Image.Transpose.TRANSVERSE)),
        ("turned", lambda picture: picture.transpose(Image.Transpose.ROTATE_90)),
        ("turned", lambda picture: picture.transpose(Image.Transpose.ROTATE_180)),
        ("turned", lambda picture: picture.transpose(Image.Transpose.ROTATE_270)),
        ("cropped", lambda picture: crop(picture, 0.03, 0.06, 0.93, 0.96)),
        ("cropped", lambda picture: crop(picture, 0.13, 0.04, 0.93, 0.84)),
        ("cropped", lambda picture: crop(picture, 0, 0, 1, 0.75)),
        ("flipped, cropped", lambda picture: ImageOps.mirror(crop(picture, 0.02, 0.1, 0.87, 0.95))),
        ("turned, cropped", lambda picture: crop(picture, 0, 0, 0.85, 0.85).transpose(Image.Transpose.ROTATE_90)),
        ("cropped", lambda picture: with_gamma(crop(picture, 0.1, 0.1, 0.95, 0.95), 0.6)),
    ],
)
def test_a_changed_copy_is_found_among_others_and_named_by_its_change(find, kind, change):
    others = [scene(seed) for seed in range(5)]
    (pair,) = find(*others, change(scene(3)))
    assert pair[:3] == (3, 5, kind)
    assert 0 < pair.distance < 0.4


def test_a_copy_recompressed_strongly_is_the_same(find, tmp_path):
    (pair,) = find(scene(0), scene(1), recompressed(scene(1), tmp_path))
    assert pair[:3] == (1, 2, "same")


def test_the_crop_may_come_before_the_whole(find):
    (pair,) = find(crop(scene(0), 0.1, 0.1, 0.95, 0.95), scene(1), scene(0))
    assert pair[:3] == (0, 2, "cropped")


def test_two_overlapping_crops_of_one_scene_are_cropped(find):
    wide = scene(0, 160, 128)
    (pair,) = find(crop(wide, 0, 0, 0.88, 0.9), scene(1), crop(wide, 0.12, 0.1, 1, 1))
    assert pair[:3] == (0, 2, "cropped")


def test_the_distance_grows_with_the_change(find):
    picture = np.asarray(scene(0), dtype=float)
    random = np.random.RandomState(0)
    noisy = [
        Image.fromarray(np.clip(picture + random.randn(HEIGHT, WIDTH) * s, 0, 255).astype(np.uint8)) for s in (5, 25)
    ]
    distances = {pair[:2]: pair.distance for pair in find(scene(0), *noisy)}
    assert distances[0, 1] < distances[0, 2]


def test_the_nearest_pairs_come_first(find):
    found = find(scene(0), with_text(scene(0)), scene(1), scene(1))
    assert [pair[:3] for pair in found] == [(2, 3, "exact file"), (0, 1, "same")]


def test_a_copy_of_a_near_duplicate_is_one_as_well(find):
    darker = scene(0).point(lambda grey: grey // 2)
    found = {pair[:2]: pair.kind for pair in find(darker, scene(1), scene(0), scene(0))}
    assert found == {(0, 2): "same", (0, 3): "same", (2, 3): "exact file"}


def test_a_long_series_of_slightly_moved_frames_is_one_group(find):
    wide = scene(0, 160, HEIGHT)
    frames = [wide.crop((step, 0, step + WIDTH, HEIGHT)) for step in range(0, 40, 2)]
    pairs = find(*frames, scene(1))
    assert duplicate_groups(21, pairs) == [0] * 20 + [1]


# difficult input


def test_flat_images_equal_only_images_with_the_same_pixels(find):
    flat = [Image.new("L", (40, 30), grey) for grey in (0, 100, 101, 100)]
    assert find(*flat) == [NearDuplicate(1, 3, "exact file", 0.0)]


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_have_no_duplicates(find, count):
    assert find(*(scene(seed) for seed in range(count))) == []


def test_images_of_ten_pixels_are_compared(find):
    random = np.random.RandomState(0)
    tiny = [Image.fromarray(random.randint(0, 256, (10, 10), dtype=np.uint8)) for _ in range(4)]
    assert [pair[:3] for pair in find(*tiny, ImageOps.mirror(tiny[2]))] == [(2, 4, "flipped")]


def test_a_picture_one_pixel_high_is_accepted(find):
    assert find(Image.new("L", (50, 1), 9), scene(0), Image.new("L", (1, 50), 9)) == []


def test_colour_16_bit_and_transparency_do_not_matter(find):
    picture = scene(0)
    deep = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    found = find(picture.convert("RGB"), deep, picture.convert("LA"), scene(1))
    assert [pair[:3] for pair in found] == [(0, 1, "same pixels"), (0, 2, "same pixels"), (1, 2, "same pixels")]


def test_a_broken_file_is_named(save, message_of):
    paths = save(scene(0), scene(1))
    paths[1].write_bytes(b"garbage")
    with pytest.raises(InputError) as error:
        find_near_duplicates(paths, show_progress=False)
    assert message_of(error).startswith(f"{paths[1]} cannot be read as an image")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere.png does not exist"):
        find_near_duplicates([tmp_path / "nowhere.png"], show_progress=False)


# groups


def pair_of(first, second, kind="same", distance=0.25):
    return NearDuplicate(first, second, kind, distance)


def test_groups_join_chains_and_count_from_their_first_image():
    assert duplicate_groups(6, [pair_of(2, 5), pair_of(1, 4), pair_of(4, 5)]) == [0, 1, 1, 2, 1, 1]


def test_without_pairs_every_image_is_its_own_group():
    assert duplicate_groups(3, []) == [0, 1, 2]
    assert duplicate_groups(0, []) == []


def test_a_repeated_pair_changes_nothing():
    assert duplicate_groups(3, [pair_of(0, 2), pair_of(0, 2)]) == [0, 1, 0]


# tables and contact sheet


def test_the_csv_table_has_one_line_a_pair(tmp_path):
    write_tables([pair_of(0, 2)], ["a.png", "b.png", "c, d.png"], ["training", "training", "test"], tmp_path / "new")
    rows = list(csv.reader((tmp_path / "new" / "near_duplicates.csv").open(newline="")))
    assert rows == [
        ["first", "first split", "second", "second split", "kind", "distance", "group"],
        ["a.png", "training", "c, d.png", "test", "same", "0.250", "0"],
    ]


def test_the_markdown_table_counts_pairs_across_splits(tmp_path):
    write_tables(
        [pair_of(0, 2), pair_of(0, 1)], ["a.png", "b|.png", "c.png"], ["training", "training", "test"], tmp_path
    )
    text = (tmp_path / "near_duplicates.md").read_text()
    assert "3 images, 2 pairs of near duplicates, 1 of them between different splits; 3 images in 1 groups." in text
    assert "| a.png | training | c.png | test | same | 0.250 | 0 |" in text
    assert "b\\|.png" in text


def test_a_table_without_pairs_is_only_its_summary(tmp_path):
    write_tables([], ["a.png"], [""], tmp_path)
    assert "|" not in (tmp_path / "near_duplicates.md").read_text()


def framed_tiles(path):
    """How many tiles of a contact sheet have a frame: its top edges are the only long lines in its colour."""
    lines = (np.asarray(Image.open(path)) == DIFFERENCE_COLOUR).all(axis=2)
    long_rows = lines.sum(axis=1) >= 150
    tops = np.flatnonzero(long_rows & ~np.roll(long_rows, 1))
    return sum(round(lines[top].sum() / 156) for top in tops) // 2  # a frame has a top and a bottom


def test_a_contact_sheet_frames_the_pairs_across_splits(save, tmp_path):
    paths = save(scene(0), scene(1), scene(2))
    labels = ["training", "training", "test"]
    draw_contact_sheet([pair_of(0, 1), pair_of(1, 2)], paths, labels, tmp_path / "new" / "sheet.png")
    assert framed_tiles(tmp_path / "new" / "sheet.png") == 2
    draw_contact_sheet([pair_of(0, 1)], paths, labels, tmp_path / "sheet.png")
    assert framed_tiles(tmp_path / "sheet.png") == 0


def test_a_contact_sheet_shows_at_most_so_many_pairs(save, tmp_path, monkeypatch):
    monkeypatch.setattr(contact_sheet, "MOST_PAIRS", 4)
    paths = save(Image.new("L", (9, 9)), Image.new("L", (9, 9)))
    for count in (4, 9):
        draw_contact_sheet([pair_of(0, 1)] * count, paths, ["", ""], tmp_path / f"{count}.png")
    exact, more = (Image.open(tmp_path / f"{count}.png") for count in (4, 9))
    assert more.height - exact.height < 50  # a line of text, but no further row of tiles


def test_a_contact_sheet_without_pairs_is_a_readable_picture(tmp_path):
    draw_contact_sheet([], [], [], tmp_path / "sheet.png")
    assert np.asarray(Image.open(tmp_path / "sheet.png")).min() < 100  # says so in dark letters


# command line


def outcome(capsys, output):
    """The first line which the command line printed, and the rows of its table."""
    rows = list(csv.DictReader((output / "near_duplicates.csv").open(newline="")))
    assert (output / "near_duplicates.md").is_file()
    Image.open(output / "near_duplicates.png").verify()
    return capsys.readouterr().out.splitlines()[0], rows


def test_subfolders_of_a_folder_are_its_splits(save, tmp_path, capsys):
    paths = save(scene(0), scene(1), ImageOps.mirror(scene(0)))
    for split, path in zip(("train", "train", "test"), paths, strict=True):
        (tmp_path / "data" / split / "images").mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "data" / split / "images" / path.name)
    main([str(tmp_path / "data"), "--output", str(tmp_path / "report")])
    summary, (row,) = outcome(capsys, tmp_path / "report")
    assert summary.startswith("3 images, 1 pairs of near duplicates, 1 of them between different splits")
    assert (row["first split"], row["second split"], row["kind"]) == ("test", "train", "flipped")


def test_a_datalist_gives_the_splits(save, tmp_path, capsys):
    save(scene(0), scene(1), scene(2), scene(2), scene(1), scene(3))
    item = {"image": "3.png", "label": "any.png"}
    content = {
        "training": [{"image": "0.png", "label": "any.png"}, "1.png", "2.png"],
        "validation": [item],
        "test": [{"image": "4.png"}, {"image": "5.png"}],
    }
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    main([str(tmp_path / "datalist.json"), "--output", str(tmp_path / "report")])
    summary, rows = outcome(capsys, tmp_path / "report")
    assert summary.startswith("6 images, 2 pairs of near duplicates, 2 of them between different splits")
    assert {(row["first split"], row["second split"]) for row in rows} == {
        ("training", "validation"),
        ("training", "test"),
    }


def test_a_datalist_may_lie_elsewhere(save, tmp_path, capsys):
    save(scene(0), scene(0))
    (tmp_path / "lists").mkdir()
    content = {"training": [{"image": "0.png", "label": "l.png"}], "validation": [{"image": "1.png", "label": "l.png"}]}
    (tmp_path / "lists" / "datalist.json").write_text(json.dumps(content))
    source = str(tmp_path / "lists" / "datalist.json")
    main([source, "--dataset-dir", str(tmp_path), "--output", str(tmp_path / "report")])
    assert outcome(capsys, tmp_path / "report")[1][0]["kind"] == "exact file"


def test_a_folder_without_images_is_refused(tmp_path, message_of):
    with pytest.raises(InputError) as error:
        main([str(tmp_path), "--output", str(tmp_path / "report")])
    assert message_of(error).startswith(f"{tmp_path}: holds no image")
