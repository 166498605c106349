from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from custom.errors import InputError
from custom.phantoms import ultrasound
from custom.phantoms.ultrasound import DIFFICULTY, draw_ultrasound_phantom


@pytest.fixture(scope="module")
def phantoms() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_ultrasound_phantom(64, np.random.default_rng(number)) for number in range(150)]


@pytest.mark.parametrize("size", [32, 48, 65])
def test_picture_and_mask_have_the_size_asked_for(size):
    image, mask = draw_ultrasound_phantom(size, np.random.default_rng(0))
    assert image.shape == mask.shape == (size, size)
    assert image.dtype == mask.dtype == np.uint8


def test_masks_hold_only_0_and_255(phantoms):
    assert all(set(np.unique(mask)) == {0, 255} for _, mask in phantoms)


def test_every_picture_has_one_or_two_lesions_and_about_a_tenth_have_two(phantoms):
    counts = [label(mask, structure=np.ones((3, 3)))[1] for _, mask in phantoms]
    assert set(counts) == {1, 2}
    assert 0.03 < np.mean(np.array(counts) == 2) < 0.2


def test_lesion_areas_spread_over_the_range_asked_for(phantoms):
    areas = np.array([(mask > 0).mean() for _, mask in phantoms])
    assert areas.min() > 0.03
    assert areas.max() < 0.26
    assert (areas < 0.055).any()
    assert (areas > 0.18).any()


def test_drawn_outline_encloses_the_area_of_the_unit_circle():
    for seed, malignant in [(0, False), (1, True), (2, True)]:
        radius = ultrasound._draw_outline(malignant, np.random.default_rng(seed))
        assert np.pi * np.mean(radius**2) == pytest.approx(np.pi)


def test_lesions_are_darker_than_their_surroundings(phantoms):
    darker = []
    for image, mask in phantoms:
        inside = mask > 0
        ring = binary_dilation(inside, iterations=5) & ~binary_dilation(inside, iterations=1)
        darker.append(image[inside].mean() < image[ring].mean() - 5)
    assert np.mean(darker) > 0.95


def test_no_grey_threshold_finds_the_lesions(phantoms):
    """Distractors are as dark as lesions: the best threshold in hindsight stays far from what a network reaches."""

    def mean_dice(threshold: int) -> float:
        pairs = [(image < threshold, mask > 0) for image, mask in phantoms]
        return float(np.mean([2 * (dark & truth).sum() / (dark.sum() + truth.sum()) for dark, truth in pairs]))

    assert max(mean_dice(threshold) for threshold in range(10, 200, 10)) < 0.4


def test_speckle_is_rayleigh_before_log_compression(monkeypatch):
    monkeypatch.setattr(ultrasound, "DIFFICULTY", replace(DIFFICULTY, speckle_looks=(1, 1)))
    decibels = ultrasound._speckle(np.zeros((256, 256)), np.random.default_rng(0))
    amplitude = 10 ** (decibels / 20)
    # A Rayleigh-distributed amplitude has mean / standard deviation = sqrt(pi / (4 - pi)) = 1.913.
    assert amplitude.mean() / amplitude.std() == pytest.approx(1.913, abs=0.04)


def test_speckle_is_wider_across_the_beam_than_along_it():
    decibels = ultrasound._speckle(np.zeros((256, 256)), np.random.default_rng(0))
    centred = decibels - decibels.mean()
    along, across = (np.mean(centred * np.roll(centred, 3, axis)) / centred.var() for axis in (0, 1))
    assert across > along + 0.1


def test_speckle_strength_follows_the_echo_strength():
    echo = np.zeros((128, 128))
    echo[:, 64:] = 20
    decibels = ultrasound._speckle(echo, np.random.default_rng(0))
    assert decibels[:, 80:].mean() - decibels[:, :48].mean() == pytest.approx(20, abs=0.5)


def test_same_generator_state_gives_the_same_phantom():
    first, second = (draw_ultrasound_phantom(48, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_too_small_a_picture_is_refused():
    with pytest.raises(InputError, match="image_size is 31"):
        draw_ultrasound_phantom(31, np.random.default_rng(0))
