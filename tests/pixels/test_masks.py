from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.pixels import read_class_indices, read_mask
from custom.pixels.masks import join, plain_values


@pytest.fixture
def classes(tmp_path):
    """Function: a Pillow picture or an array for tifffile, saved and read -> class indices as nested lists."""

    def read(content, num_classes=2, ignore_value=None, **options):
        if isinstance(content, Image.Image):
            path = tmp_path / "mask.png"
            content.save(path, **options)
        else:
            path = tmp_path / "mask.tif"
            tifffile.imwrite(path, np.asarray(content), **options)
        return np.asarray(read_class_indices(path, num_classes, ignore_value)).tolist()

    return read


@pytest.fixture
def refusal(classes):
    """Function: as `classes` -> the message."""

    def read(*arguments, **options):
        with pytest.raises(InputError) as caught:
            classes(*arguments, **options)
        message = str(caught.value)
        assert "\n" not in message
        assert "mask." in message
        return message

    return read


def grey(rows, dtype=np.uint8):
    return Image.fromarray(np.array(rows, dtype=dtype))


def palette_image(rows, *colours):
    image = grey(rows)
    image.putpalette([channel for colour in colours for channel in colour])
    return image


BLACK, WHITE, RED, GREEN = (0, 0, 0), (255, 255, 255), (200, 0, 0), (0, 200, 0)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([[0, 255]], [[0, 1]]), ([[0, 1]], [[0, 1]]), ([[255, 255]], [[1, 1]]), ([[1, 1]], [[1, 1]]), ([[0]], [[0]])],
)
def test_reads_both_ways_of_writing_binary_masks(classes, rows, expected):
    assert classes(grey(rows)) == expected


def test_reads_white_of_sixteen_bits(classes):
    assert classes(grey([[0, 65535]], np.uint16)) == [[0, 1]]


def test_reads_one_bit_masks(classes):
    mask = Image.new("1", (2, 1))
    mask.putpixel((1, 0), 1)
    assert classes(mask) == [[0, 1]]
    assert classes(np.array([[False, True] * 4]), photometric="minisblack") == [[0, 1] * 4]


@pytest.mark.parametrize("bits", [2, 4])
def test_reads_indices_of_few_bits(tmp_path, bits):
    grey([[0, 1, 2, 3]]).save(tmp_path / "index.png", bits=bits)
    assert np.asarray(read_class_indices(tmp_path / "index.png", 4)).tolist() == [[0, 1, 2, 3]]


def test_keeps_class_indices(classes):
    assert classes(grey([[0, 1, 2, 3]]), 4) == [[0, 1, 2, 3]]
    assert classes(grey([[0, 3]], np.uint16), 4) == [[0, 3]]
    assert classes(np.array([[0, 3]], np.float32), 4) == [[0, 3]]


def test_indices_above_255_never_wrap(refusal):
    assert "values 0, 260" in refusal(grey([[0, 260]], np.uint16), 5)


def test_undecided_pixels_become_the_ignored_label(classes):
    assert classes(grey([[0, 1, 255]]), 2, 255) == [[0, 1, IGNORED_LABEL]]
    assert classes(grey([[0, 2, 9]]), 3, 9) == [[0, 2, IGNORED_LABEL]]
    assert classes(grey([[0, 1, 60000]], np.uint16), 2, 60000) == [[0, 1, IGNORED_LABEL]]


def test_a_value_for_undecided_pixels_is_never_foreground(classes):
    assert classes(grey([[0, 255]]), 2, 255) == [[0, IGNORED_LABEL]]


class TestPalettes:
    def test_indices_of_colours_are_classes(self, classes):
        assert classes(palette_image([[0, 1, 2]], BLACK, RED, GREEN), 3) == [[0, 1, 2]]
        assert classes(palette_image([[0, 1, 0]], WHITE, RED)) == [[0, 1, 0]]

    def test_an_empty_mask_with_a_white_background_stays_empty(self, classes):
        assert classes(palette_image([[0, 0]], WHITE, RED)) == [[0, 0]]

    def test_rising_greys_count_as_greys(self, classes):
        assert classes(palette_image([[0, 1]], BLACK, WHITE)) == [[0, 1]]
        assert classes(palette_image([[0, 1, 2]], *[(grey,) * 3 for grey in range(256)]), 3) == [[0, 1, 2]]

    @pytest.mark.parametrize("rows", [[[0, 1]], [[0, 0]], [[1, 1]]])
    def test_falling_greys_are_refused(self, refusal, rows):
        assert "background is uncertain" in refusal(palette_image(rows, WHITE, BLACK))

    def test_black_that_is_not_the_first_colour_is_refused(self, refusal):
        assert "index 1 as black" in refusal(palette_image([[0, 1]], RED, BLACK))

    def test_a_colour_with_index_255_is_not_white(self, refusal):
        colours = [BLACK, *[RED] * 254, (224, 224, 192)]
        assert "values 0, 255" in refusal(palette_image([[0, 255]], *colours))

    def test_tiff_palettes_are_read_alike(self, tmp_path):
        colours = np.zeros((3, 256), np.uint16)
        colours[0, 1], colours[1, 2] = 65535, 65535
        tifffile.imwrite(
            tmp_path / "mask.tif", np.array([[0, 1, 2]], np.uint8), photometric="palette", colormap=colours
        )
        assert read_mask(tmp_path / "mask.tif").colours == {0: BLACK, 1: (255, 0, 0), 2: (0, 255, 0)}
        assert np.asarray(read_class_indices(tmp_path / "mask.tif", 3)).tolist() == [[0, 1, 2]]


class TestTransparency:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
    def test_equal_channels_are_grey(self, classes, mode):
        assert classes(Image.merge("RGB", [grey([[0, 255]])] * 3).convert(mode)) == [[0, 1]]

    def test_what_is_transparent_and_black_is_background(self, classes):
        assert classes(Image.fromarray(np.array([[[0, 0], [255, 255]]], np.uint8), "LA")) == [[0, 1]]
        assert classes(Image.fromarray(np.array([[[0, 0], [255, 128]]], np.uint8), "LA")) == [[0, 1]]

    @pytest.mark.parametrize(
        "pixels",
        [
            [[255, 0], [255, 255]],  # only transparency tells
            [[0, 0], [0, 255]],
            [[0, 0], [0, 128]],
            [[255, 0], [0, 255]],  # drawn in black on what is not seen
        ],
    )
    def test_transparency_that_holds_more_than_the_values_is_refused(self, refusal, pixels):
        assert "transparency" in refusal(Image.fromarray(np.array([pixels], np.uint8), "LA"))

    def test_a_transparent_background_of_a_palette_is_read(self, classes):
        assert classes(palette_image([[0, 1]], BLACK, RED), transparency=0) == [[0, 1]]


class TestFromWhite:
    def test_white_is_foreground(self, classes):
        assert classes(np.array([[255, 0]], np.uint8), photometric="miniswhite") == [[0, 1]]
        assert classes(np.array([[65535, 0]], np.uint16), photometric="miniswhite") == [[0, 1]]

    @pytest.mark.parametrize("rows", [[[0, 1]], [[0, 1, 2]], [[0, 0]]])
    def test_small_indices_are_refused(self, refusal, rows):
        assert "counts from white" in refusal(np.array(rows, np.uint8), 3, photometric="miniswhite")

    def test_boolean_masks_as_tifffile_writes_them_are_refused(self, refusal):
        assert "counts from white" in refusal(np.array([[False, True] * 4]))


class TestPages:
    def test_pages_are_joined(self, classes):
        pages = np.array([[[0, 0, 255, 0]], [[255, 0, 0, 0]]], np.uint8)
        assert classes(pages, photometric="minisblack") == [[1, 0, 1, 0]]

    def test_pages_may_hold_different_classes(self, classes):
        assert classes(np.array([[[0, 1, 0]], [[2, 0, 0]]], np.uint8), 3, photometric="minisblack") == [[2, 1, 0]]

    def test_two_classes_for_one_pixel_are_refused(self, refusal):
        pages = np.array([[[0, 1, 1]], [[0, 2, 0]]], np.uint8)
        assert "different classes" in refusal(pages, 3, photometric="minisblack")

    def test_pages_that_leave_no_background_are_refused(self, refusal):
        pages = np.array([[[0, 1, 1]], [[1, 0, 0]]], np.uint8)
        assert "no background" in refusal(pages, photometric="minisblack")

    def test_pages_of_several_sizes_are_refused(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "mask.tif") as file:
            file.write(np.zeros((4, 4), np.uint8))
            file.write(np.zeros((2, 4), np.uint8))
        with pytest.raises(InputError, match="2 pages of several sizes"):
            read_mask(tmp_path / "mask.tif")

    def test_thumbnails_do_not_count(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "mask.tif") as file:
            file.write(np.eye(4, dtype=np.uint8))
            file.write(np.ones((2, 2), np.uint8), subfiletype=1)
        assert np.array_equal(read_mask(tmp_path / "mask.tif").values, np.eye(4))


class TestJoin:
    def test_background_and_undecided_pixels_give_way(self):
        masks = [np.array([[0, 1, 0, 255, 255]], np.uint8), np.array([[0, 0, 2, 1, 0]], np.uint8)]
        assert join(masks, ["a", "b"]).tolist() == [[0, 1, 2, 1, 255]]

    def test_different_classes_are_refused_with_both_names(self):
        masks = [np.array([[0]], np.uint8), np.array([[1]], np.uint8), np.array([[2]], np.uint8)]
        with pytest.raises(InputError, match=r"b\.png and c\.png"):
            join(masks, ["a.png", "b.png", "c.png"])


def test_turns_by_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    grey([[0, 1, 2]]).save(tmp_path / "turned.png", exif=exif)
    assert np.asarray(read_class_indices(tmp_path / "turned.png", 3)).tolist() == [[0], [1], [2]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_and_png_are_turned_alike(tmp_path, orientation):
    rows = np.arange(6, dtype=np.uint8).reshape(2, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(rows).save(tmp_path / "mask.png", exif=exif)
    tifffile.imwrite(tmp_path / "mask.tif", rows, extratags=[(274, "H", 1, orientation, True)])
    png, tiff = (np.asarray(read_class_indices(tmp_path / f"mask.{suffix}", 6)) for suffix in ("png", "tif"))
    assert np.array_equal(png, tiff)
    with Image.open(tmp_path / "mask.png") as stored:
        assert np.array_equal(png, np.asarray(ImageOps.exif_transpose(stored)))


def test_refuses_colours(refusal):
    assert "in colour" in refusal(Image.new("RGB", (1, 1), RED))


@pytest.mark.parametrize(
    ("rows", "num_classes"), [([[0, 1, 255]], 2), ([[0, 128]], 2), ([[0, 255]], 3), ([[3]], 3), ([[0, 1, 65535]], 2)]
)
def test_refuses_values_which_are_no_classes(refusal, rows, num_classes):
    assert "expected" in refusal(grey(rows, np.uint16 if max(rows[0]) > 255 else np.uint8), num_classes)


@pytest.mark.parametrize("value", [0.5, float("nan"), -1.0])
def test_refuses_fractions_and_negative_numbers(refusal, value):
    assert "values" in refusal(np.array([[0, value]], np.float32))


def test_shortens_the_list_of_wrong_values(refusal):
    assert "values 0, 1, 2, 3, 4, ..., expected" in refusal(grey([range(200)]))


def test_any_classes_are_taken_where_their_number_is_unknown(classes):
    assert classes(grey([[0, 255]]), None) == [[0, 1]]
    assert classes(grey([[0, 1, 254]]), None) == [[0, 1, 254]]


def test_near_grey_of_jpeg_counts_as_grey(tmp_path):
    Image.new("RGB", (8, 8), WHITE).save(tmp_path / "mask.jpg")
    assert plain_values(read_mask(tmp_path / "mask.jpg")).shape == (8, 8)
