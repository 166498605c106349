"""What the phantoms in colour have in common."""

from __future__ import annotations

import numpy as np
import pytest

from custom.errors import InputError
from custom.phantoms.colonoscopy import draw_colonoscopy_phantom
from custom.phantoms.dermoscopy import draw_dermoscopy_phantom
from custom.phantoms.histology import draw_histology_phantom


@pytest.fixture(params=[draw_colonoscopy_phantom, draw_dermoscopy_phantom, draw_histology_phantom])
def draw(request):
    return request.param


@pytest.mark.parametrize("size", [32, 48, 65])
def test_picture_and_mask_have_the_size_asked_for(draw, size):
    image, mask = draw(size, np.random.default_rng(0))
    assert image.shape == (size, size, 3)
    assert mask.shape == (size, size)
    assert image.dtype == mask.dtype == np.uint8


def test_smallest_pictures_have_no_empty_masks(draw):
    assert all(draw(32, np.random.default_rng([1, number]))[1].any() for number in range(50))


def test_same_generator_state_gives_the_same_phantom(draw):
    first, second = (draw(48, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_too_small_a_picture_is_refused(draw):
    with pytest.raises(InputError, match="image_size is 31"):
        draw(31, np.random.default_rng(0))
