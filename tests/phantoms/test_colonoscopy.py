from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import label

from custom.phantoms import colonoscopy
from custom.phantoms.colonoscopy import DIFFICULTY, draw_colonoscopy_phantom
from tests.phantoms.colours import colour_difference


@pytest.fixture(scope="module")
def phantoms() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_colonoscopy_phantom(64, np.random.default_rng(number)) for number in range(60)]


def test_masks_hold_only_0_and_255_and_are_never_empty(phantoms):
    assert all(set(np.unique(mask)) == {0, 255} for _, mask in phantoms)


def test_no_two_phantoms_are_alike(phantoms):
    assert len({image.tobytes() for image, _ in phantoms}) == len({mask.tobytes() for _, mask in phantoms}) == 60


def test_polyp_areas_spread_over_the_range_asked_for(phantoms):
    areas = np.array([(mask > 0).mean() for _, mask in phantoms])
    assert areas.min() > 0.8 * DIFFICULTY.lesion_area[0]
    assert areas.max() < 1.05 * DIFFICULTY.lesion_area[1]
    assert (areas < 0.05).any()
    assert (areas > 0.2).any()


def test_every_picture_has_one_or_two_polyps_and_some_have_two(phantoms):
    counts = [label(mask, structure=np.ones((3, 3)))[1] for _, mask in phantoms]
    assert set(counts) == {1, 2}
    assert 0.03 < np.mean(np.array(counts) == 2) < 0.25


def test_the_bowel_is_red_rather_than_green_or_blue(phantoms):
    red, green, blue = np.mean([image.reshape(-1, 3).mean(axis=0) for image, _ in phantoms], axis=0)
    assert red > green + 30 > blue + 30


def test_polyps_differ_from_the_wall_round_them_in_no_one_way(phantoms):
    differences = np.array([colour_difference(*phantom) for phantom in phantoms])
    assert np.mean(np.linalg.norm(differences, axis=1)) > 20
    assert 0.2 < np.mean(differences[:, 1] > 0) < 0.95


def test_polyp_contrast_sets_the_colour_difference(monkeypatch):
    def mean_difference(contrast: float) -> float:
        changes = {"polyp_contrast": (contrast, contrast), "flat_share": 1.0, "flat_protrusion": (0.0, 0.0)}
        monkeypatch.setattr(colonoscopy, "DIFFICULTY", replace(DIFFICULTY, **changes))
        drawn = [draw_colonoscopy_phantom(48, np.random.default_rng(number)) for number in range(20)]
        return float(np.mean([np.linalg.norm(colour_difference(*phantom)) for phantom in drawn]))

    assert mean_difference(1.0) > mean_difference(0.0) + 5


@pytest.mark.parametrize(
    ("slope_down", "lamp_down", "cosine"),
    [(0.0, 0.0, 1.0), (1.0, 0.0, 1 / np.sqrt(2)), (-1.0, 1.0, 1.0), (1.0, 1.0, 0.0), (-0.75, 0.0, 0.8)],
)
def test_light_falls_with_the_angle_between_the_surface_and_the_lamp(slope_down, lamp_down, cosine):
    drawn = colonoscopy._lambert_cosine((np.array(slope_down), np.array(0.0)), np.array([lamp_down, 0.0]))
    assert drawn == pytest.approx(cosine)


def test_no_polyp_lies_outside_the_field_of_view(phantoms):
    """Beyond the window the picture is an even near-black."""
    for image, mask in phantoms:
        assert np.mean(image[mask > 0].max(axis=1) < 14) < 0.02
