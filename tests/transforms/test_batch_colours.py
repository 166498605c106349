from __future__ import annotations

import numpy as np
import pytest
import torch

from custom.transforms import BatchColourJitter
from custom.transforms.augmentation import jitter_colours
from custom.transforms.batch_colours import change_colours

CHANGES = {  # of three images: brightness, contrast, saturation, hue
    "brightness": [1.3, 0.6, 1.0],
    "contrast": [0.7, 1.4, 1.0],
    "saturation": [1.4, 0.6, 1.0],
    "hue": [0.1, -0.3, 0.5],
}


@pytest.fixture
def images():
    """Random colours, with black, white, grey and pure ones among them."""
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for column, colour in enumerate([(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0), (0, 1, 1), (1, 1, 0)]):
        images[:, :, 0, column] = torch.tensor(colour)
    return images


def test_each_image_changes_like_one_alone_by_jitter_colours(images):
    changed = change_colours(images, *map(torch.tensor, CHANGES.values()))
    for index, image in enumerate(images):
        change = {name: values[index] for name, values in CHANGES.items()}
        np.testing.assert_allclose(changed[index], jitter_colours(image.numpy(), **change), atol=2e-6)


def test_factors_of_one_and_no_turn_change_nothing(images):
    ones, zeros = torch.ones(3), torch.zeros(3)
    torch.testing.assert_close(change_colours(images, ones, ones, ones, zeros), images)


def test_grey_images_stay_grey():
    images = torch.rand(2, 1, 8, 8).expand(-1, 3, -1, -1)
    changed = BatchColourJitter()(images)
    torch.testing.assert_close(changed[:, 0], changed[:, 1])
    torch.testing.assert_close(changed[:, 0], changed[:, 2])
    assert not torch.equal(changed, images)


def test_every_image_gets_a_change_of_its_own_or_none():
    torch.manual_seed(0)
    images = torch.rand(1, 3, 8, 8).expand(40, -1, -1, -1)
    changed = BatchColourJitter()(images, probability=0.5)
    same = (changed == images).flatten(1).all(dim=1)
    assert 10 < same.sum() < 30
    assert len(changed[~same].flatten(1).unique(dim=0)) == (~same).sum()


def test_the_same_seed_gives_the_same_colours(images):
    first, again = (torch.manual_seed(3) and BatchColourJitter()(images) for _ in range(2))
    assert torch.equal(first, again)
