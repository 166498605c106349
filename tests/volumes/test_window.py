import numpy as np
import pytest

from custom.errors import InputError
from custom.volumes import Volume, check_window, windowed

RANDOM = np.random.default_rng(0)


def volume(values, **facts):
    return Volume(np.asarray(values, np.float32), np.eye(4), **facts)


def test_a_window_is_linear_and_cuts():
    brightness = windowed(volume([[[-500, -160, 40, 240, 900]]]), (-160, 240))
    assert brightness.tolist() == [[[0, 0, 128, 255, 255]]]
    assert brightness.dtype == np.uint8


def test_auto_takes_percentiles_so_that_a_few_odd_voxels_count_little():
    values = RANDOM.uniform(0, 1000, (20, 20, 5))
    values[0, 0, 0] = 1e6
    brightness = windowed(volume(values))
    assert brightness.min() == 0 and brightness.max() == 255
    assert np.abs(brightness[1:].astype(float) - np.clip(values[1:], 0, 1000) / 1000 * 255).max() < 4


def test_auto_leaves_bytes_alone_and_a_window_does_not():
    values = np.array([[[0, 100, 200]]])
    assert windowed(volume(values, is_8_bits=True)).tolist() == values.tolist()
    assert windowed(volume(values, is_8_bits=True), (100, 200)).tolist() == [[[0, 0, 255]]]


def test_a_constant_volume_is_black():
    assert not windowed(volume(np.full((2, 2, 2), 7))).any()


def test_where_white_is_zero_the_brightness_is_turned_round_after_the_window():
    assert windowed(volume([[[0, 10]]], white_is_zero=True), (0, 10)).tolist() == [[[255, 0]]]


def test_colours_stay():
    colours = RANDOM.integers(0, 256, (3, 3, 2, 3))
    assert np.array_equal(windowed(volume(colours, is_8_bits=True), (0, 10)), colours)


@pytest.mark.parametrize("window", [None, "auto"])
def test_auto_is_the_default(window):
    assert check_window(window) == "auto"


@pytest.mark.parametrize(
    "window",
    ["wide", "", 5, [1], [1, 2, 3], [2, 1], [1, 1], [0, float("nan")], [0, float("inf")], ["0", "1"], [False, True]],
)
def test_what_is_no_window_is_refused_by_name(window):
    with pytest.raises(InputError, match=r'^--window is .*; give "auto" or \[low, high\]'):
        check_window(window, "--window")
