from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import label

from custom.phantoms import dermoscopy
from custom.phantoms.dermoscopy import DIFFICULTY, draw_dermoscopy_phantom
from tests.phantoms.colours import colour_difference


@pytest.fixture(scope="module")
def phantoms() -> list[tuple[np.ndarray, np.ndarray]]:
    return [draw_dermoscopy_phantom(64, np.random.default_rng(number)) for number in range(60)]


def test_masks_hold_only_0_and_255_and_are_never_empty(phantoms):
    assert all(set(np.unique(mask)) == {0, 255} for _, mask in phantoms)


def test_no_two_phantoms_are_alike(phantoms):
    assert len({image.tobytes() for image, _ in phantoms}) == len({mask.tobytes() for _, mask in phantoms}) == 60


def test_lesion_areas_spread_over_the_range_asked_for(phantoms):
    areas = np.array([(mask > 0).mean() for _, mask in phantoms])
    assert areas.min() > 0.7 * DIFFICULTY.lesion_area[0]
    assert areas.max() < 1.1 * DIFFICULTY.lesion_area[1]
    assert (areas < 0.04).any()
    assert (areas > 0.3).any()


def test_there_is_one_lesion_apart_from_crumbs_of_its_ragged_margin(phantoms):
    for _, mask in phantoms:
        parts, _ = label(mask, structure=np.ones((3, 3)))
        assert np.bincount(parts.ravel())[1:].max() > 0.95 * (mask > 0).sum()


def test_most_lesions_are_darker_than_the_skin_round_them_but_not_all(phantoms):
    differences = np.array([colour_difference(*phantom) for phantom in phantoms])
    darker = differences[:, 1] < 0
    assert 0.8 < darker.mean() < 1
    assert differences.mean(axis=0).max() < -10


def test_faint_lesions_differ_less_than_others(monkeypatch):
    def mean_difference(**changes: float) -> float:
        monkeypatch.setattr(dermoscopy, "DIFFICULTY", replace(DIFFICULTY, **changes))
        drawn = [draw_dermoscopy_phantom(48, np.random.default_rng(number)) for number in range(20)]
        return float(np.mean([np.linalg.norm(colour_difference(*phantom)) for phantom in drawn]))

    assert mean_difference(faint_share=1.0) < 0.8 * mean_difference(faint_share=0.0)


def test_pale_lesions_are_brighter_than_the_skin_round_them(monkeypatch):
    changes = {"faint_share": 1.0, "pale_share": 1.0, "hairs_share": 0.0, "sticker_share": 0.0}
    monkeypatch.setattr(dermoscopy, "DIFFICULTY", replace(DIFFICULTY, **changes))
    drawn = [draw_dermoscopy_phantom(48, np.random.default_rng(number)) for number in range(20)]
    assert np.mean([colour_difference(*phantom)[2] > 0 for phantom in drawn]) > 0.9


def test_skin_reflects_red_best(phantoms):
    red, green, blue = np.mean([image.reshape(-1, 3).mean(axis=0) for image, _ in phantoms], axis=0)
    assert red > green + 15
    assert red > blue + 15


def test_skin_without_melanin_and_blood_takes_no_light_away(monkeypatch):
    none = {name: (0.0, 0.0) for name in ("skin_melanin", "skin_blood", "skin_unevenness")}
    none |= {"blotches": (0, 0), "freckles": (0, 0)}
    monkeypatch.setattr(dermoscopy, "DIFFICULTY", replace(DIFFICULTY, **none))
    monkeypatch.setattr(dermoscopy, "strands", lambda cells, thickness, side, rng: np.zeros((side, side)))
    down, across = dermoscopy.pixel_centres(64)
    assert dermoscopy._skin(down, across, np.random.default_rng(0)) == pytest.approx(np.zeros((64, 64, 3)))


@pytest.mark.parametrize("name", ["_hairs", "_ruler", "_ink", "_sticker", "_gel_bubbles"])
def test_what_lies_on_the_skin_covers_some_of_it_but_not_most(name):
    draw_cover = getattr(dermoscopy, name)
    shares = [np.mean(np.asarray(draw_cover(128, np.random.default_rng(k))[0]) > 64) for k in range(10)]
    assert 0 < np.mean(shares) < 0.4
