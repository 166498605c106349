from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import Dataset
from monai.transforms import Compose, CopyItemsd, RandomOrder

from custom.data import PairedLoader
from custom.errors import InputError
from custom.transforms import RandEnhanced


def grey(values):
    """A grey image [3, W, H] of values in 0..255."""
    return torch.tensor(values, dtype=torch.float32).expand(3, -1, -1) / 255


def changed(image, operation, amount):
    """`image` after a change by just this amount, as values in 0..255."""
    transform = RandEnhanced("image", operation, amount, amount, prob=1)
    return 255 * transform({"image": image})["image"]


class TestRandEnhanced:
    def test_brightness_multiplies(self):
        assert changed(grey([[0, 100, 200]]), "brightness", 1.1)[0].tolist() == [pytest.approx([0, 110, 220], abs=1)]

    def test_contrast_multiplies_the_distance_from_the_mean(self):
        assert changed(grey([[50, 150]]), "contrast", 1.2)[0].tolist() == [pytest.approx([40, 160], abs=1)]

    def test_sharpness_multiplies_the_distance_from_a_smoothed_image(self):
        dot = torch.zeros(3, 5, 5)
        dot[:, 2, 2] = 130 / 255
        # Pillow's smoothing weighs the pixel by 5/13: 50 of 130; then 50 + 1.5 (130 - 50).
        assert changed(dot, "sharpness", 1.5)[:, 2, 2].tolist() == pytest.approx([170] * 3, abs=1)

    def test_blur_is_as_wide_along_both_axes_and_keeps_the_sum(self):
        dot = torch.zeros(3, 9, 9)
        dot[:, 4, 4] = 1
        blurred = changed(dot, "blur", 1.0)
        assert torch.allclose(blurred, blurred.transpose(1, 2), atol=1.01)  # Pillow rounds after each axis
        assert blurred[0].sum() == pytest.approx(255, abs=25)
        offsets = torch.arange(9) - 4.0
        assert (blurred[0].sum(dim=0) * offsets**2).sum() / blurred[0].sum() == pytest.approx(1, abs=0.25)

    def test_blur_of_width_zero_changes_nothing(self):
        image = torch.randint(256, (3, 6, 5)) / 255
        assert torch.allclose(changed(image, "blur", 0.0), 255 * image, atol=1e-3)

    def test_colours_and_axes_stay_in_place(self):
        image = torch.zeros(3, 4, 2)
        image[1, 3, 0] = 100 / 255
        result = changed(image, "brightness", 2.0)
        assert result.nonzero().tolist() == [[1, 3, 0]]
        assert result[1, 3, 0] == pytest.approx(200, abs=1)

    def test_values_stay_in_the_unit_interval(self):
        assert changed(grey([[0, 255]]), "contrast", 1.5)[0].tolist() == [[0, 255]]

    def test_changes_as_often_as_asked_by_amounts_of_the_whole_range(self):
        transform = RandEnhanced("image", "brightness", 1.0, 2.0, prob=0.5).set_random_state(0)
        image = grey([[100]])
        values = np.array([255 * float(transform({"image": image})["image"][0]) for _ in range(400)])
        assert 0.4 < np.mean(values > 100.5) < 0.6
        assert values.max() > 190
        assert values.min() > 99

    def test_keys_left_out_stay_as_they_are(self):
        image = grey([[100, 50]])
        item = {"image": image.clone(), "strong_image": image.clone()}
        result = RandEnhanced("strong_image", "brightness", 2, 2, prob=1)(item)
        assert torch.equal(result["image"], image)
        assert not torch.equal(result["strong_image"], image)

    def test_unknown_operation_is_refused(self):
        with pytest.raises(InputError, match="choose one of contrast"):
            RandEnhanced("image", "solarise", 0, 1)


def strong_views(epoch, seed=3):
    """The strong images of an epoch of eight."""
    operations = [RandEnhanced("strong_image", name, 1.0, 2.0) for name in ("contrast", "brightness", "sharpness")]
    transform = Compose([CopyItemsd("image", names="strong_image"), RandomOrder(operations)])
    generator = torch.Generator().manual_seed(0)
    items = [{"image": torch.rand(3, 6, 6, generator=generator), "label": torch.zeros(1, 6, 6)} for _ in range(8)]
    loader = PairedLoader(Dataset(items, transform), None, 8, 0, seed, image_keys=("image", "strong_image"))
    loader.set_epoch(epoch)
    return next(iter(loader))["labelled"]["strong_image"]


def test_order_and_amounts_follow_from_the_seed_and_epoch_of_the_loader():
    assert torch.equal(strong_views(epoch=1), strong_views(epoch=1))
    assert not torch.equal(strong_views(epoch=1), strong_views(epoch=2))


def test_random_order_follows_from_the_seed_of_the_pipeline():
    orders = []

    def record(name):
        return lambda item: orders.append(name) or item

    pipeline = Compose([RandomOrder([record(name) for name in "abc"])])
    for _ in range(2):
        pipeline.set_random_state(7)
        for _ in range(10):
            pipeline({})
    assert orders[:30] == orders[30:]
    assert len({tuple(orders[index : index + 3]) for index in range(0, 30, 3)}) > 2
