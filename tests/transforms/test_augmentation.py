from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandFlipd, RandRotate90d, Resized
from PIL import Image

from custom.transforms import LoadImageAndLabeld, RandColourJitterd, RandShiftScaleRotated
from custom.transforms.augmentation import jitter_colours


def moved(picture, monkeypatch, angle=0.0, zoom=1.0, offset=(0.0, 0.0)):
    """`picture` [W, H] after a change which is given instead of drawn."""
    transform = RandShiftScaleRotated("image", mode="nearest", padding_mode="zeros")
    drawn = {"_do_transform": True, "angle": angle, "zoom": zoom, "offset": np.array(offset)}
    monkeypatch.setattr(transform, "randomize", lambda: vars(transform).update(drawn))
    return transform({"image": picture[None]})["image"][0]


def dot(width, height, x, y):
    picture = torch.zeros(width, height)
    picture[x, y] = 1
    return picture


class TestRandShiftScaleRotated:
    def test_shifts_by_fractions_of_width_and_height(self, monkeypatch):
        shifted = moved(dot(8, 4, 3, 2), monkeypatch, offset=(0.25, -0.5))
        assert shifted.nonzero().tolist() == [[5, 0]]

    def test_turns_about_the_centre(self, monkeypatch):
        turned = moved(dot(5, 5, 4, 2), monkeypatch, angle=math.pi / 2)
        assert turned.nonzero().tolist() == [[2, 4]]

    def test_zooms_about_the_centre(self, monkeypatch):
        picture = torch.zeros(8, 8)
        picture[3:5, 3:5] = 1
        zoomed = moved(picture, monkeypatch, zoom=2.0)
        assert zoomed[2:6, 2:6].min() == 1
        assert zoomed.sum() == 16

    def test_shifts_after_turning_and_zooming(self, monkeypatch):
        changed = moved(dot(9, 9, 5, 4), monkeypatch, angle=math.pi / 2, zoom=2.0, offset=(2 / 9, 0))
        # seen from the centre (4, 4), the dot is at (1, 0), turned (0, 1), zoomed (0, 2), shifted (2, 2)
        assert changed[6, 6] == 1
        assert changed[[4, 8, 6, 6], [6, 6, 4, 8]].sum() == 0

    def test_changes_image_and_label_alike(self):
        picture = (torch.arange(20)[:, None] > torch.arange(24)).float()[None]
        transform = RandShiftScaleRotated(["image", "label"], prob=1.0, mode="nearest").set_random_state(1)
        changed = transform({"image": picture, "label": picture})
        assert not torch.equal(changed["image"], picture)
        assert torch.equal(changed["image"], changed["label"])

    def test_keeps_class_indices_whole(self):
        label = torch.arange(4).repeat(16, 4).float()[None]
        transform = RandShiftScaleRotated(["image", "label"], prob=1.0).set_random_state(0)
        changed = transform({"image": torch.rand(3, 16, 16), "label": label})["label"]
        assert changed.dtype == torch.float32
        assert set(changed.unique().tolist()) == {0, 1, 2, 3}

    @pytest.mark.parametrize("padding_mode", ["reflection", "border", "zeros"])
    def test_ignored_pixels_stay_ignored_and_mix_with_no_class(self, padding_mode):
        label = torch.tensor([0.0, 255.0, 1.0, 255.0]).repeat(20, 5)[None]
        spatial = [
            RandFlipd(["image", "label"], prob=0.5),
            RandRotate90d(["image", "label"], prob=0.5),
            RandShiftScaleRotated(["image", "label"], prob=1.0, padding_mode=padding_mode),
            Resized(["image", "label"], spatial_size=[13, 17], mode=["bilinear", "nearest"]),
        ]
        transform = Compose(spatial).set_random_state(0)
        found = [transform({"image": torch.rand(3, 20, 20), "label": label})["label"].unique() for _ in range(10)]
        assert all(values.tolist() == [0, 1, 255] for values in found)

    def test_leaves_no_empty_border(self):
        transform = RandShiftScaleRotated("image", prob=1.0).set_random_state(0)
        assert torch.allclose(torch.as_tensor(transform({"image": torch.ones(3, 16, 12)})["image"]), torch.ones(1))

    def test_draws_within_the_ranges(self):
        transform = RandShiftScaleRotated("image", prob=1.0).set_random_state(0)
        drawn = []
        for _ in range(200):
            transform.randomize()
            drawn.append([math.degrees(transform.angle), transform.zoom, *transform.offset])
        lowest, highest = np.min(drawn, axis=0), np.max(drawn, axis=0)
        assert lowest == pytest.approx([-20, 0.9, -0.15, -0.15], rel=0.05)
        assert highest == pytest.approx([20, 1.1, 0.15, 0.15], rel=0.05)

    def test_changes_the_asked_share_of_images(self):
        transform = RandShiftScaleRotated("image", prob=0.4).set_random_state(0)
        image = torch.rand(1, 4, 4)
        changed = sum(not torch.equal(transform({"image": image})["image"], image) for _ in range(200))
        assert 60 <= changed <= 100

    def test_skips_a_missing_label(self):
        transform = RandShiftScaleRotated(["image", "label"], prob=1.0, allow_missing_keys=True)
        assert set(transform({"image": torch.rand(3, 8, 8)})) == {"image"}

    def test_refuses_fewer_modes_than_keys(self):
        with pytest.raises(ValueError, match="fewer"):
            RandShiftScaleRotated(["image", "label"], mode=["bilinear"])


def colour(red, green, blue):
    return np.array([red, green, blue], dtype=np.float32).reshape(3, 1, 1)


class TestJitterColours:
    def test_multiplies_by_brightness(self):
        assert jitter_colours(colour(0.2, 0.4, 0.6), brightness=1.5).ravel() == pytest.approx([0.3, 0.6, 0.9])

    def test_contrast_scales_the_distance_from_the_mean_grey(self):
        image = np.concatenate([colour(0.2, 0.2, 0.2), colour(0.6, 0.6, 0.6)], axis=1)  # mean grey 0.4
        assert jitter_colours(image, contrast=0.5)[0].ravel() == pytest.approx([0.3, 0.5])

    def test_saturation_scales_the_distance_from_the_grey_of_the_pixel(self):
        # grey of pure red is 0.299
        assert jitter_colours(colour(1, 0, 0), saturation=0.5).ravel() == pytest.approx([0.6495, 0.1495, 0.1495])

    def test_a_third_of_the_circle_turns_red_into_green(self):
        assert jitter_colours(colour(1, 0, 0), hue=1 / 3).ravel() == pytest.approx([0, 1, 0], abs=1e-6)

    def test_hue_is_cyclic(self):
        assert jitter_colours(colour(1, 0, 0), hue=-1 / 3).ravel() == pytest.approx([0, 0, 1], abs=1e-6)

    def test_hue_leaves_grey_alone(self):
        grey = np.repeat(np.random.RandomState(0).rand(1, 5, 4), 3, axis=0).astype(np.float32)
        assert np.array_equal(jitter_colours(grey, hue=0.2), np.clip(jitter_colours(grey), 0, 1))

    def test_clips_to_one(self):
        assert jitter_colours(colour(0.9, 0.9, 0.9), brightness=2.0).ravel() == pytest.approx([1, 1, 1])

    def test_default_changes_nothing(self):
        image = np.random.RandomState(0).rand(3, 5, 4).astype(np.float32)
        assert jitter_colours(image) == pytest.approx(image, abs=1e-5)


class TestRandColourJitterd:
    def test_keeps_type_shape_and_range(self):
        image = MetaTensor(torch.rand(3, 6, 5, generator=torch.Generator().manual_seed(0)), meta={"a": 1})
        changed = RandColourJitterd("image", prob=1.0, brightness=0.9).set_random_state(0)({"image": image})["image"]
        assert isinstance(changed, MetaTensor)
        assert changed.meta["a"] == 1
        assert changed.dtype == torch.float32
        assert changed.shape == image.shape
        assert changed.min() >= 0 and changed.max() <= 1
        assert not torch.equal(changed, image)

    def test_draws_within_the_ranges(self):
        transform = RandColourJitterd("image", brightness=0.1, contrast=0.2, saturation=0.3, hue=0.05)
        transform.set_random_state(0)
        drawn = []
        for _ in range(200):
            transform.randomize()
            drawn.append([transform.change[name] for name in ("brightness", "contrast", "saturation", "hue")])
        assert np.min(drawn, axis=0) == pytest.approx([0.9, 0.8, 0.7, -0.05], rel=0.05)
        assert np.max(drawn, axis=0) == pytest.approx([1.1, 1.2, 1.3, 0.05], rel=0.05)

    def test_changes_the_asked_share_of_images(self):
        transform = RandColourJitterd("image", prob=0.2).set_random_state(0)
        image = torch.full((3, 2, 2), 0.5)
        changed = sum(not torch.equal(transform({"image": image})["image"], image) for _ in range(200))
        assert 25 <= changed <= 55


def test_the_augmentation_of_the_release_repeats_under_one_seed(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    Image.fromarray((pixels[..., 0] > 128).astype(np.uint8)).save(tmp_path / "mask.png")
    item = {"image": str(tmp_path / "image.png"), "label": str(tmp_path / "mask.png")}
    keys = ["image", "label"]
    pipeline = Compose(
        [
            LoadImageAndLabeld(keys),
            RandFlipd(keys, prob=0.5, spatial_axis=0),
            RandFlipd(keys, prob=0.5, spatial_axis=1),
            RandRotate90d(keys, prob=0.5),
            RandColourJitterd("image", prob=0.5),
            RandShiftScaleRotated(keys, prob=0.5),
            Resized(keys, spatial_size=(16, 16), mode=("bilinear", "nearest")),
        ]
    )

    def six_samples():
        pipeline.set_random_state(7)
        return [pipeline(item) for _ in range(6)]

    first, again = six_samples(), six_samples()
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])
        assert one["image"].shape == (3, 16, 16)
        assert set(one["label"].unique().tolist()) <= {0, 1}
    assert not torch.equal(first[0]["image"], first[1]["image"])
