from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from PIL import Image

from custom.errors import InputError
from custom.transforms import LoadImageAndLabeld, image_to_rgb, loading, mask_to_classes
from custom.transforms.loading import open_as

ORIENTATION = 0x0112  # the EXIF tag; 6 means "turn 90 degrees clockwise to see it upright"


def grey(rows, dtype=np.uint8):
    return Image.fromarray(np.array(rows, dtype=dtype))


def pixels(image):
    return np.asarray(image).tolist()


def palette_image(rows, palette):
    image = Image.new("P", (len(rows[0]), len(rows)))
    image.putpalette(palette)
    image.putdata([value for row in rows for value in row])
    return image


class TestImageToRgb:
    def test_repeats_grey_over_the_channels(self):
        assert pixels(image_to_rgb(grey([[0, 7]]))) == [[[0, 0, 0], [7, 7, 7]]]

    def test_scales_sixteen_bits_to_eight(self):
        image = image_to_rgb(grey([[0, 257, 25700, 65535]], np.uint16))
        assert [pixel[0] for pixel in pixels(image)[0]] == [0, 1, 100, 255]

    def test_drops_transparency(self):
        image = Image.new("RGBA", (1, 1), (1, 2, 3, 0))
        assert pixels(image_to_rgb(image)) == [[[1, 2, 3]]]

    def test_looks_up_palette_colours(self):
        image = palette_image([[1, 0]], [0, 0, 0, 10, 20, 30])
        assert pixels(image_to_rgb(image)) == [[[10, 20, 30], [0, 0, 0]]]

    @pytest.mark.parametrize(("mode", "value"), [("1", 1), ("LA", (255, 9)), ("L", 255), ("CMYK", (0, 0, 0, 0))])
    def test_reads_white_of_every_kind(self, mode, value):
        assert pixels(image_to_rgb(Image.new(mode, (1, 1), value))) == [[[255, 255, 255]]]

    def test_turns_by_exif_orientation(self, tmp_path):
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        grey([[10, 20, 30]]).save(tmp_path / "turned.png", exif=exif)
        upright = open_as(tmp_path / "turned.png", image_to_rgb)
        assert upright.size == (1, 3)
        assert [row[0][0] for row in pixels(upright)] == [10, 20, 30]

    def test_refuses_floating_point_pixels(self):
        with pytest.raises(InputError, match="floating-point"):
            image_to_rgb(grey([[0.5]], np.float32))

    def test_refuses_more_pixels_than_are_sane(self, monkeypatch):
        monkeypatch.setattr(loading, "MAX_PIXELS", 5)
        with pytest.raises(InputError, match="3x2 pixels"):
            image_to_rgb(Image.new("L", (3, 2)))


class TestMaskToClasses:
    @pytest.mark.parametrize(
        ("rows", "classes"),
        [
            ([[0, 255]], [[0, 1]]),
            ([[0, 1]], [[0, 1]]),
            ([[255, 255]], [[1, 1]]),
            ([[1, 1]], [[1, 1]]),
            ([[0, 0]], [[0, 0]]),
        ],
    )
    def test_reads_both_ways_of_writing_binary_masks(self, rows, classes):
        assert pixels(mask_to_classes(grey(rows), 2)) == classes

    def test_reads_one_bit_masks(self):
        mask = Image.new("1", (2, 1))
        mask.putpixel((1, 0), 1)
        assert pixels(mask_to_classes(mask, 2)) == [[0, 1]]

    def test_keeps_class_indices(self):
        assert pixels(mask_to_classes(grey([[0, 1, 2, 3]]), 4)) == [[0, 1, 2, 3]]

    def test_reads_sixteen_bit_class_indices(self):
        assert pixels(mask_to_classes(grey([[0, 3]], np.uint16), 4)) == [[0, 3]]

    def test_takes_the_indices_of_a_coloured_palette(self):
        mask = palette_image([[0, 1, 2]], [0, 0, 0, 128, 0, 0, 0, 128, 0])
        assert pixels(mask_to_classes(mask, 3)) == [[0, 1, 2]]

    def test_takes_the_grey_of_a_grey_palette(self):
        white_first = palette_image([[0, 1]], [255, 255, 255, 0, 0, 0])
        assert pixels(mask_to_classes(white_first, 2)) == [[1, 0]]

    @pytest.mark.parametrize(("mode", "value"), [("RGB", (255,) * 3), ("RGBA", (255, 255, 255, 0)), ("LA", (255, 0))])
    def test_reads_grey_from_equal_channels(self, mode, value):
        mask = Image.new(mode, (2, 1))
        mask.putpixel((1, 0), value)
        assert pixels(mask_to_classes(mask, 2)) == [[0, 1]]

    def test_turns_by_exif_orientation(self, tmp_path):
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        grey([[0, 1, 2]]).save(tmp_path / "turned.png", exif=exif)
        upright = open_as(tmp_path / "turned.png", lambda mask: mask_to_classes(mask, 3))
        assert pixels(upright) == [[0], [1], [2]]

    def test_refuses_colours(self):
        with pytest.raises(InputError, match="colour"):
            mask_to_classes(Image.new("RGB", (1, 1), (255, 0, 0)), 2)

    @pytest.mark.parametrize(
        ("rows", "num_classes"), [([[0, 1, 255]], 2), ([[0, 128]], 2), ([[0, 255]], 3), ([[3]], 3)]
    )
    def test_refuses_values_which_are_no_classes(self, rows, num_classes):
        with pytest.raises(InputError, match=f"holds the values .*{rows[0][-1]}, expected"):
            mask_to_classes(grey(rows), num_classes)

    def test_shortens_the_list_of_wrong_values(self):
        with pytest.raises(InputError, match=r"values 0, 1, 2, 3, 4, \.\.\., expected"):
            mask_to_classes(grey([range(200)]), 2)


@pytest.fixture
def item(tmp_path):
    """An image of 3 x 2 (width x height) pixels with one red corner, and the mask of that corner."""
    image = Image.new("RGB", (3, 2))
    image.putpixel((2, 0), (255, 0, 51))
    mask = Image.new("L", (3, 2))
    mask.putpixel((2, 0), 255)
    image.save(tmp_path / "image.png")
    mask.save(tmp_path / "mask.png")
    return {"image": str(tmp_path / "image.png"), "label": str(tmp_path / "mask.png")}


class TestLoadImageAndLabeld:
    def test_loads_the_image_with_width_first_and_scaled_to_one(self, item):
        image = LoadImageAndLabeld(["image", "label"])(item)["image"]
        assert image.shape == (3, 3, 2)
        assert image.dtype == torch.float32
        assert image[:, 2, 0].tolist() == pytest.approx([1.0, 0.0, 0.2])
        assert image.sum().item() == pytest.approx(1.2)

    def test_loads_the_label_as_class_indices(self, item):
        label = LoadImageAndLabeld(["image", "label"])(item)["label"]
        assert label.shape == (1, 3, 2)
        assert label.dtype == torch.float32
        assert label[0].tolist() == [[0, 0], [0, 0], [1, 0]]

    def test_keeps_file_name_and_size_as_metadata(self, item):
        image = LoadImageAndLabeld("image")(item)["image"]
        assert isinstance(image, MetaTensor)
        assert image.meta["filename_or_obj"] == item["image"]
        assert image.meta["spatial_shape"].tolist() == [3, 2]

    def test_never_opens_a_label_it_was_not_asked_for(self, item):
        item["label"] = "/nowhere.png"
        assert LoadImageAndLabeld("image")(item)["label"] == "/nowhere.png"

    def test_loads_an_item_without_label(self, item):
        del item["label"]
        assert set(LoadImageAndLabeld(["image", "label"])(item)) == {"image"}

    def test_can_insist_on_a_label(self, item):
        del item["label"]
        with pytest.raises(KeyError, match="label"):
            LoadImageAndLabeld(["image", "label"], allow_missing_keys=False)(item)

    def test_names_a_missing_file(self, item):
        item["image"] = "/nowhere.png"
        with pytest.raises(InputError, match="^/nowhere.png does not exist"):
            LoadImageAndLabeld(["image", "label"])(item)

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
    @pytest.mark.parametrize("suffix", ["png", "jpg"])
    def test_names_a_file_cut_short_in_one_line(self, tmp_path, share, suffix):
        path = tmp_path / f"image.{suffix}"
        Image.effect_noise((64, 64), 50).save(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match=f"image.{suffix} cannot be read as an image") as caught:
            LoadImageAndLabeld("image")({"image": str(path)})
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("content", [b"garbage", b"\x89PNG\r\n\x1a\n"])
    def test_names_a_broken_file_in_one_line(self, item, content):
        with open(item["image"], "wb") as file:
            file.write(content)
        with pytest.raises(InputError, match="image.png cannot be read as an image") as caught:
            LoadImageAndLabeld(["image", "label"])(item)
        assert "\n" not in str(caught.value)

    def test_names_a_mask_which_does_not_fit_the_classes(self, item):
        with pytest.raises(InputError, match="mask.png: the mask holds the values 0, 255"):
            LoadImageAndLabeld(["image", "label"], num_classes=3)(item)

    def test_can_be_built_from_a_bundle_config(self, item):
        config = {
            "num_classes": 2,
            "load": {
                "_target_": "custom.transforms.LoadImageAndLabeld",
                "keys": ["image", "label"],
                "num_classes": "@num_classes",
            },
        }
        loaded = ConfigParser(config).get_parsed_content("load")(item)
        assert loaded["label"].sum() == 1
