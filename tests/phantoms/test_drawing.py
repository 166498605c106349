from __future__ import annotations

import numpy as np
import pytest

from custom.errors import InputError
from custom.phantoms import drawing


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def test_sizes_below_the_smallest_are_refused():
    drawing.check_size(32)
    with pytest.raises(InputError, match="image_size is 31: give at least 32"):
        drawing.check_size(31)


def test_pixel_centres_lie_half_a_pixel_inside_the_edges():
    down, across = drawing.pixel_centres(4)
    assert down.ravel().tolist() == across.ravel().tolist() == [0.125, 0.375, 0.625, 0.875]
    assert (down.shape, across.shape) == ((4, 1), (1, 4))


def test_whole_numbers_reach_both_ends():
    rng = generator()
    assert {drawing.draw_integer((2, 4), rng) for _ in range(60)} == {2, 3, 4}


def test_log_uniform_numbers_fall_below_the_geometric_mean_half_of_the_time():
    rng = generator()
    numbers = np.array([drawing.draw_log_uniform((0.01, 1.0), rng) for _ in range(2000)])
    assert numbers.min() >= 0.01
    assert numbers.max() <= 1
    assert np.mean(numbers < 0.1) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("layers", [1, 3])
def test_noise_has_about_zero_mean_and_unit_variance_and_is_smooth(layers):
    noise = np.stack([drawing.layered_noise(6, 96, np.random.default_rng(k), layers) for k in range(30)])
    assert noise.shape == (30, 96, 96)
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert noise.std() == pytest.approx(1, abs=0.15)
    assert np.abs(np.diff(noise, axis=1)).mean() < 0.2


def test_strands_are_1_where_the_noise_crosses_zero():
    lines = drawing.strands((5, 5), 0.1, 200, generator())
    noise = drawing.smooth_noise((5, 5), 200, generator())
    assert lines == pytest.approx(np.exp(-((noise / 0.1) ** 2)))
    assert lines.max() > 0.99
    assert lines.mean() < 0.3


def test_outline_encloses_the_area_of_the_unit_circle():
    radius = drawing.draw_outline(8, 0.2, generator())
    assert radius.std() > 0.05
    assert np.mean(radius**2) == pytest.approx(1)


def test_outline_without_roughness_is_a_circle():
    assert drawing.draw_outline(5, 0.0, generator()) == pytest.approx(np.ones(360))


def test_relative_radius_is_1_at_the_ends_of_a_turned_ellipse():
    circle = np.ones(360)
    down, across = np.array([0.0, 0.1, 0.3]), np.array([0.0, 0.0, 0.0])
    # Turned by a quarter, the half length across (0.3) points down.
    radius = drawing.relative_radius(down, across, (0.1, 0.3), np.pi / 2, circle)
    assert radius == pytest.approx([0, 1 / 3, 1])


def test_centre_keeps_the_half_length_inside_the_span():
    rng = generator()
    centres = np.array([drawing.place_centre(0.2, (0.1, 0.9), rng) for _ in range(200)])
    assert 0.3 <= centres.min() < 0.33
    assert 0.67 < centres.max() <= 0.7
    assert drawing.place_centre(0.5, (0.1, 0.9), rng) == pytest.approx(0.5)


def test_blend_goes_from_bottom_to_top():
    share = np.array([[0.0, 0.25, 1.0]])
    assert drawing.blend(share, (1.0, 0.0, 0.8), np.zeros((1, 3, 3)))[0].ravel() == pytest.approx(
        [0, 0, 0, 0.25, 0, 0.2, 1, 0, 0.8]
    )


def test_shrinking_takes_the_mean_of_four_pixels_in_each_channel():
    picture = np.zeros((4, 4))
    picture[0, 0], picture[1, 1], picture[3, 3] = 4, 8, 2
    assert drawing.shrink(picture).tolist() == [[3, 0], [0, 0.5]]
    coloured = drawing.shrink(np.stack([picture, 2 * picture], axis=2))
    assert coloured[0, 0].tolist() == [3, 6]


def test_pictures_are_rounded_bytes_cut_off_at_white_and_black():
    colours = np.repeat(np.array([-1.0, 0.5, 2.0])[None, None], 2, axis=0).repeat(2, axis=1)
    assert drawing.to_picture(colours).tolist() == [[[0, 128, 255]]]


def test_mask_pixels_are_set_from_half_coverage_on():
    inside = np.array([[True, False, True, False], [True, False, False, False]] * 2)
    assert drawing.to_mask(inside).tolist() == [[255, 0], [255, 0]]
