from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from PIL import Image

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.transforms import LoadImageAndLabeld


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


def test_loads_the_image_with_width_first_and_scaled_to_one(item):
    image = LoadImageAndLabeld(["image", "label"])(item)["image"]
    assert image.shape == (3, 3, 2)
    assert image.dtype == torch.float32
    assert image[:, 2, 0].tolist() == pytest.approx([1.0, 0.0, 0.2])
    assert image.sum().item() == pytest.approx(1.2)


def test_loads_the_label_as_class_indices(item):
    label = LoadImageAndLabeld(["image", "label"])(item)["label"]
    assert label.shape == (1, 3, 2)
    assert label.dtype == torch.float32
    assert label[0].tolist() == [[0, 0], [0, 0], [1, 0]]


def test_keeps_file_name_and_size_as_metadata(item):
    image = LoadImageAndLabeld("image")(item)["image"]
    assert isinstance(image, MetaTensor)
    assert image.meta["filename_or_obj"] == item["image"]
    assert image.meta["spatial_shape"].tolist() == [3, 2]


def test_never_opens_a_label_it_was_not_asked_for(item):
    item["label"] = "/nowhere.png"
    assert LoadImageAndLabeld("image")(item)["label"] == "/nowhere.png"


def test_loads_an_item_without_label(item):
    del item["label"]
    assert set(LoadImageAndLabeld(["image", "label"])(item)) == {"image"}


def test_can_insist_on_a_label(item):
    del item["label"]
    with pytest.raises(KeyError, match="label"):
        LoadImageAndLabeld(["image", "label"], allow_missing_keys=False)(item)


def test_names_a_missing_file(item):
    item["image"] = "/nowhere.png"
    with pytest.raises(InputError, match="^/nowhere.png does not exist"):
        LoadImageAndLabeld(["image", "label"])(item)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_names_a_file_cut_short_in_one_line(tmp_path, share, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.effect_noise((64, 64), 50).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=f"image.{suffix} cannot be read as an image") as caught:
        LoadImageAndLabeld("image")({"image": str(path)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"garbage", b"\x89PNG\r\n\x1a\n"])
def test_names_a_broken_file_in_one_line(item, content):
    with open(item["image"], "wb") as file:
        file.write(content)
    with pytest.raises(InputError, match="image.png cannot be read as an image") as caught:
        LoadImageAndLabeld(["image", "label"])(item)
    assert "\n" not in str(caught.value)


def test_names_a_mask_which_does_not_fit_the_classes(item):
    with pytest.raises(InputError, match="mask.png: the mask holds the values 0, 255"):
        LoadImageAndLabeld(["image", "label"], num_classes=3)(item)


def test_can_be_built_from_a_bundle_config(item):
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


def test_undecided_pixels_become_the_ignored_label(item):
    Image.fromarray(np.array([[0, 1, 7], [0, 0, 1]], np.uint8)).save(item["label"])
    label = LoadImageAndLabeld(["image", "label"], ignore_value=7)(item)["label"]
    assert label[0].T.tolist() == [[0, 1, IGNORED_LABEL], [0, 0, 1]]


def test_sixteen_bits_are_scaled_by_the_bit_depth(item):
    Image.fromarray(np.array([[0, 1023, 4095], [0, 0, 0]], np.uint16)).save(item["image"])
    image = LoadImageAndLabeld("image", bit_depth=12)(item)["image"]
    assert image[0, :, 0].tolist() == pytest.approx([0, 64 / 255, 1])


def test_can_be_sent_to_a_worker(item):
    load = pickle.loads(pickle.dumps(LoadImageAndLabeld(["image", "label"], ignore_value=7, bit_depth=12)))
    assert load(item)["label"].sum() == 1


def test_the_loader_says_nothing_of_readers_that_it_does_not_use(recwarn, caplog):
    LoadImageAndLabeld(["image", "label"])
    assert not recwarn.list
    assert not caplog.records
