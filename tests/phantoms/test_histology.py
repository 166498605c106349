from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import label

from custom.phantoms import histology
from custom.phantoms.histology import DIFFICULTY, draw_histology_phantom


@pytest.fixture(scope="module")
def phantoms() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_histology_phantom(64, np.random.default_rng(number)) for number in range(60)]


def test_masks_hold_only_0_and_255_and_are_never_empty(phantoms):
    assert all(set(np.unique(mask)) == {0, 255} for _, mask in phantoms)


def test_no_two_phantoms_are_alike(phantoms):
    assert len({image.tobytes() for image, _ in phantoms}) == len({mask.tobytes() for _, mask in phantoms}) == 60


def test_tumour_areas_spread_over_the_range_asked_for(phantoms):
    areas = np.array([(mask > 0).mean() for _, mask in phantoms])
    assert areas.min() > 0.5 * DIFFICULTY.tumour_area[0]  # small pieces and holes are taken out
    assert areas.max() < 1.05 * DIFFICULTY.tumour_area[1]
    assert (areas < 0.2).any()
    assert (areas > 0.5).any()


def test_tumour_is_a_few_large_regions():
    for number in range(20):
        tumour = histology._draw_tumour(128, np.random.default_rng(number)) > 0.5
        regions, count = label(tumour)
        areas = np.bincount(regions.ravel())[1:] / 128**2
        assert 1 <= count <= 12
        assert areas.min() >= DIFFICULTY.least_region_area


def test_largest_piece_of_tumour_is_kept_however_small(monkeypatch):
    changes = replace(DIFFICULTY, least_region_area=0.9)
    monkeypatch.setattr(histology, "DIFFICULTY", changes)
    _, count = label(histology._draw_tumour(128, np.random.default_rng(0)) > 0.5)
    assert count == 1


def test_patches_cover_the_share_asked_for():
    patches = histology._draw_patches(0.3, 128, np.random.default_rng(0))
    assert np.mean(patches > 0.5) == pytest.approx(0.3, abs=0.001)


def test_tumour_is_darker_than_the_rest_on_average(phantoms):
    """Red: haematoxylin, which nuclei bind, takes it away; eosin does not."""
    differences = np.array([image[mask > 0].mean(axis=0) - image[mask == 0].mean(axis=0) for image, mask in phantoms])
    assert differences[:, 0].mean() < -12
    assert 0.8 < np.mean(differences[:, 0] < 0) <= 1


def test_no_red_threshold_finds_the_tumour(phantoms):
    """Lymphocytes and haze are as dark as tumour: the best threshold in hindsight stays far from a network."""

    def mean_dice(threshold: int) -> float:
        pairs = [(image[..., 0] < threshold, mask > 0) for image, mask in phantoms]
        return float(np.mean([2 * (dark & truth).sum() / (dark.sum() + truth.sum()) for dark, truth in pairs]))

    assert max(mean_dice(threshold) for threshold in range(60, 250, 10)) < 0.65


def test_holes_are_no_tumour(phantoms):
    for image, mask in phantoms:
        assert np.mean(image[mask > 0].min(axis=1) > 0.97 * image.max()) < 0.05


def test_nuclei_lie_only_where_they_are_present():
    cells = histology.Cells(radius=0.02, spacing=0.06, elongation=(1.0, 1.0), darkness=1.0)
    presence = np.zeros((128, 128))
    presence[:, :64] = 1
    stain = histology._scatter(cells, presence, np.zeros((128, 128)), np.random.default_rng(0))
    assert stain[:, :60].mean() > 0.15
    assert stain[:, 72:].max() == 0


def test_a_nucleus_has_the_area_and_length_asked_for():
    cells = histology.Cells(radius=0.1, spacing=1, elongation=(2.0, 2.0), darkness=1.0, size_spread=0.0)
    places, turn = np.array([[64.0], [64.0]]), np.array([0.0])
    stain = histology._stamp_ellipses(places, turn, cells, 128, np.random.default_rng(0)) > 0.3
    assert stain.sum() == pytest.approx(np.pi * 12.8**2, rel=0.06)  # pi * (half length = 18.1) * (half width = 9.05)
    spread = np.array([axis.std() for axis in np.nonzero(stain)])
    assert spread.max() / spread.min() == pytest.approx(2, abs=0.6)


def test_nuclei_at_the_edge_are_cut_off_and_do_not_wrap_round():
    cells = histology.Cells(radius=0.05, spacing=1, elongation=(1.0, 1.0), darkness=1.0)
    corner = np.array([[0.0], [0.0]])
    stain = histology._stamp_ellipses(corner, np.array([0.0]), cells, 64, np.random.default_rng(0))
    assert stain[0, 0] > 0.5
    assert stain[32:].max() == stain[:, 32:].max() == 0


def test_unstained_glass_lets_the_lamp_through_and_stain_darkens_exponentially(monkeypatch):
    fixed = {"haematoxylin": (1.0, 1.0), "eosin": (1.0, 1.0), "stain_hue": (0.0, 0.0), "exposure": (0.9, 0.9)}
    monkeypatch.setattr(histology, "DIFFICULTY", replace(DIFFICULTY, **fixed))
    monkeypatch.setattr(histology, "smooth_noise", lambda cells, side, rng: np.zeros((side, side)))
    nothing, full = np.zeros((64, 64)), np.ones((64, 64))

    def colour(haematoxylin: np.ndarray, eosin: np.ndarray, holes: np.ndarray) -> np.ndarray:
        return histology._stain(haematoxylin, eosin, holes, np.random.default_rng(0)).mean(axis=(0, 1))

    assert colour(full, full, holes=full) == pytest.approx([0.9] * 3, abs=0.003)
    assert colour(nothing, full, holes=nothing) == pytest.approx(0.9 * np.exp([-0.14, -0.95, -0.45]), abs=0.003)
    assert colour(full, nothing, holes=nothing) == pytest.approx(0.9 * np.exp([-0.75, -0.95, -0.42]), abs=0.003)
