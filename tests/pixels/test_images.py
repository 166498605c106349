from __future__ import annotations

import os

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from custom.errors import InputError
from custom.pixels import bits_used, read_image

ORIENTATION = 0x0112  # the EXIF tag; 6 means "turn 90 degrees clockwise to see it upright"


def grey(rows, dtype=np.uint8):
    return Image.fromarray(np.array(rows, dtype=dtype))


@pytest.fixture
def seen(tmp_path):
    """Function: a Pillow picture, saved as PNG and read -> its pixels."""

    def read(picture, suffix=".png", **options):
        picture.save(tmp_path / f"image{suffix}", **options)
        return np.asarray(read_image(tmp_path / f"image{suffix}")).tolist()

    return read


@pytest.fixture
def seen_tiff(tmp_path):
    """Function: an array, written by tifffile and read -> its pixels [H, W, 3]."""

    def read(array, bit_depth=16, **options):
        tifffile.imwrite(tmp_path / "image.tif", np.asarray(array), **options)
        return np.asarray(read_image(tmp_path / "image.tif", bit_depth))

    return read


def refusal(path, **options):
    with pytest.raises(InputError) as caught:
        read_image(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_repeats_grey_over_the_channels(seen):
    assert seen(grey([[0, 7]])) == [[[0, 0, 0], [7, 7, 7]]]


def test_looks_up_palette_colours(seen):
    picture = grey([[1, 0]])
    picture.putpalette([0, 0, 0, 10, 20, 30])
    assert seen(picture) == [[[10, 20, 30], [0, 0, 0]]]


@pytest.mark.parametrize(
    ("mode", "value", "suffix"),
    [("1", 1, ".png"), ("LA", (255, 255), ".png"), ("L", 255, ".png"), ("CMYK", (0, 0, 0, 0), ".tif")],
)
def test_reads_white_of_every_kind(seen, mode, value, suffix):
    assert seen(Image.new(mode, (1, 1), value), suffix) == [[[255, 255, 255]]]


def test_turns_by_exif_orientation(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    grey([[10, 20, 30]]).save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png")
    assert upright.size == (1, 3)
    assert [row[0][0] for row in np.asarray(upright).tolist()] == [10, 20, 30]


def test_scales_sixteen_bits_by_the_bit_depth(tmp_path):
    grey([[0, 257, 25700, 65535]], np.uint16).save(tmp_path / "full.png")
    assert np.asarray(read_image(tmp_path / "full.png"))[0, :, 0].tolist() == [0, 1, 100, 255]
    grey([[0, 1023, 4095]], np.uint16).save(tmp_path / "part.png")
    assert np.asarray(read_image(tmp_path / "part.png", 12))[0, :, 0].tolist() == [0, 64, 255]


def test_a_value_above_the_bit_depth_is_refused(tmp_path):
    grey([[0, 4096]], np.uint16).save(tmp_path / "bright.png")
    assert "values up to 4096, more than the 12 bits" in refusal(tmp_path / "bright.png", bit_depth=12)


def test_sixteen_bits_of_unknown_depth_are_taken_only_where_all_are_used(tmp_path):
    grey([[0, 65535]], np.uint16).save(tmp_path / "full.png")
    assert np.asarray(read_image(tmp_path / "full.png", None))[0, :, 0].tolist() == [0, 255]
    grey([[0, 4000]], np.uint16).save(tmp_path / "part.png")
    assert "uses 12 bits" in refusal(tmp_path / "part.png", bit_depth=None)


def test_eight_bits_need_no_depth(tmp_path):
    grey([[0, 200]]).save(tmp_path / "image.png")
    for depth in (None, 8, 12, 16):
        assert np.asarray(read_image(tmp_path / "image.png", depth))[0, 1, 0] == 200


def test_bits_used_are_those_of_the_largest_value(tmp_path):
    for highest, bits in ((7, 8), (255, 8), (256, 9), (4095, 12), (65535, 16)):
        grey([[0, highest]], np.uint16).save(tmp_path / "image.png")
        assert bits_used(tmp_path / "image.png") == bits
    grey([[0, 255]]).save(tmp_path / "image.png")
    assert bits_used(tmp_path / "image.png") is None


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_transparency_is_dropped_and_other_transparency_refused(tmp_path, mode):
    image = Image.new(mode, (2, 1), (10,) * (len(mode) - 1) + (255,))
    image.save(tmp_path / "image.png")
    assert np.asarray(read_image(tmp_path / "image.png")).tolist() == [[[10] * 3] * 2]
    image.putpixel((1, 0), (10,) * (len(mode) - 1) + (0,))
    image.save(tmp_path / "image.png")
    assert "flatten it" in refusal(tmp_path / "image.png")


def test_a_transparent_colour_is_refused_where_it_occurs(tmp_path):
    grey([[0, 9]]).save(tmp_path / "image.png", transparency=9)
    assert "flatten it" in refusal(tmp_path / "image.png")
    grey([[0, 9]]).save(tmp_path / "image.png", transparency=8)
    read_image(tmp_path / "image.png")


def test_a_palette_with_transparency_is_refused_where_it_occurs(tmp_path):
    picture = grey([[0, 1]])
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(tmp_path / "image.png", transparency=b"\xff\x40")
    assert "flatten it" in refusal(tmp_path / "image.png")


def test_sixteen_bit_colours_keep_their_lower_bytes(tmp_path):
    colours = np.array([[[0, 300, 4095], [1, 2, 3]]], np.uint16)
    (tmp_path / "image.png").write_bytes(imagecodecs.png_encode(colours))
    expected = np.rint(colours / 4095 * 255)
    assert np.array_equal(np.asarray(read_image(tmp_path / "image.png", 12)), expected)


def test_sixteen_bit_transparency_counts_too(tmp_path):
    pixels = np.array([[[500, 65535], [700, 65535]]], np.uint16)
    (tmp_path / "image.png").write_bytes(imagecodecs.png_encode(pixels))
    assert np.asarray(read_image(tmp_path / "image.png", 10))[0, :, 0].tolist() == [125, 174]
    pixels[0, 1, 1] = 300
    (tmp_path / "image.png").write_bytes(imagecodecs.png_encode(pixels))
    assert "flatten it" in refusal(tmp_path / "image.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_byte_orders_are_read(seen_tiff, dtype, order):
    top = np.iinfo(dtype).max
    array = np.array([[0, top // 5, top]], dtype)
    assert seen_tiff(array, byteorder=order)[0, :, 0].tolist() == [0, 51, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_counts_from_white_is_turned_over(seen_tiff, dtype):
    top = np.iinfo(dtype).max
    assert seen_tiff(np.array([[0, top]], dtype), photometric="miniswhite")[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_colours_are_read_whichever_way_they_are_stored(seen_tiff, planes):
    colours = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    stored = np.moveaxis(colours, -1, 0) if planes == "separate" else colours
    assert np.array_equal(seen_tiff(stored, photometric="rgb", planarconfig=planes), colours)


@pytest.mark.parametrize("mode", ["F", "float64"])
def test_floating_point_pixels_are_refused(tmp_path, mode):
    tifffile.imwrite(tmp_path / "image.tif", np.array([[0.5]], np.float32 if mode == "F" else np.float64))
    assert "floating-point" in refusal(tmp_path / "image.tif")


def test_negative_values_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", np.array([[-5, 5]], np.int16))
    assert "outside 0 to 65535" in refusal(tmp_path / "image.tif")


def test_several_pages_are_refused_with_their_number(tmp_path):
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((3, 4, 5), np.uint8), photometric="minisblack")
    assert "holds 3 pages" in refusal(tmp_path / "image.tif")


@pytest.mark.parametrize("first", [False, True])
def test_thumbnails_do_not_count(tmp_path, first):
    pages = [(np.full((8, 8), 9, np.uint8), 0), (np.full((2, 2), 5, np.uint8), 1)]
    with tifffile.TiffWriter(tmp_path / "image.tif") as file:
        for pixels, kind in reversed(pages) if first else pages:
            file.write(pixels, subfiletype=kind)
    assert np.asarray(read_image(tmp_path / "image.tif")).shape == (8, 8, 3)


def test_an_animation_is_refused_and_the_first_picture_of_a_stereo_photograph_taken(tmp_path):
    frames = [grey(np.full((4, 4), value)) for value in (10, 200)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    assert "holds 2 pictures" in refusal(tmp_path / "moving.png")
    frames[0].save(tmp_path / "stereo.jpg", "MPO", save_all=True, append_images=frames[1:])
    assert np.asarray(read_image(tmp_path / "stereo.jpg")).max() < 20


def test_more_pixels_than_are_sane_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("custom.pixels.images.MAX_PIXELS", 5)
    for suffix in ("png", "tif"):
        Image.new("L", (3, 2)).save(tmp_path / f"image.{suffix}")
        assert "3x2 pixels" in refusal(tmp_path / f"image.{suffix}")


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "no regular file" in refusal(tmp_path / "pipe.png")
    assert "is a folder" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "nowhere.png")


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "jpeg"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.98])
def test_a_tiff_cut_short_is_refused(tmp_path, compression, share):
    path = tmp_path / "image.tif"
    noise = np.random.RandomState(0).randint(0, 256, (64, 64), dtype=np.uint8)
    tifffile.imwrite(path, noise, compression=compression, rowsperstrip=16)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "replace the file" in refusal(path)


def test_other_kinds_of_files_are_refused_whatever_their_name(tmp_path):
    for name, content in (("a.png", b"%!PS-Adobe-3.0 EPSF-3.0"), ("b.tif", b"II*\0\x08\0\0\0"), ("c.jpg", b"")):
        (tmp_path / name).write_bytes(content)
        assert "replace the file" in refusal(tmp_path / name)


@pytest.mark.parametrize("options", [{"imagej": True}, {"truncate": True, "photometric": "minisblack"}])
def test_a_stack_behind_one_page_is_refused(tmp_path, options):
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((3, 24, 25), np.uint8), **options)
    assert "holds 3 pages" in refusal(tmp_path / "image.tif")
