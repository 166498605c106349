from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from custom.data.prepare.classes import ListedValues, TwoClasses, find_classes, read_mask_colours
from custom.data.prepare.mask_values import MaskSummary
from custom.errors import InputError


def found(counts, **facts):
    return find_classes(MaskSummary(Counter(counts), **facts))


def indices(class_map, values, lossy=False):
    return class_map.indices(np.array([values]), lossy)[0][0].tolist()


def test_any_two_values_are_two_classes():
    assert found({0: 5, 7: 5}).classes == {"0": 0, "7": 1}


def test_values_become_classes_in_their_order():
    class_map = found({255: 5, 0: 90, 128: 5})
    assert class_map.classes == {"0": 0, "128": 1, "255": 2}
    assert class_map.num_classes == 3
    assert indices(class_map, [255, 0, 128]) == [2, 0, 1]


def test_jpeg_greys_near_0_and_255_are_two_classes():
    assert isinstance(found({0: 60, 3: 8, 250: 8, 255: 20, 130: 4}, lossy=True), TwoClasses)


def test_smooth_outlines_are_two_classes():
    assert isinstance(found({0: 700, 255: 270} | dict.fromkeys(range(10, 250, 8), 1)), TwoClasses)


def test_stray_values_are_two_classes():
    assert isinstance(found({0: 70_000, 254: 3, 255: 30_000}), TwoClasses)


def test_classes_with_a_value_255_for_unknown_stay_classes():
    counts = {value: 1000 for value in range(10)} | {0: 100_000, 255: 500}
    assert found(counts).num_classes == 11


def test_a_palette_is_never_thresholded():
    assert found({0: 70_000, 1: 3, 255: 30_000}, palette=True).num_classes == 3


@pytest.mark.parametrize(
    "counts, facts, words",
    [
        ({0: 9}, {}, "only the value 0"),
        ({0: 30, 60: 30, 120: 30, 255: 10}, {"lossy": True}, "JPEG"),
        (dict.fromkeys(range(100), 5), {}, "100 values"),
        ({}, {"colour_mask": Path("m.png"), "colours": Counter({(255, 0, 0): 1})}, "255,0,0"),
    ],
)
def test_masks_without_clear_classes_are_refused(counts, facts, words, message_of):
    with pytest.raises(InputError) as caught:
        found(counts, **facts)
    assert words in message_of(caught)


def test_two_classes_read_0_and_1_and_count_no_odd_pixel():
    assert TwoClasses().indices(np.array([[0, 1]]), lossy=False)[1] == 0
    assert indices(TwoClasses(), [0, 1]) == [0, 1]


def test_two_classes_read_any_single_foreground_value():
    assert indices(TwoClasses(), [0, 38]) == [0, 1]


def test_two_classes_part_greys_at_half_and_count_them():
    values, odd = TwoClasses().indices(np.array([[0, 127, 128, 255]]), lossy=True)
    assert values.tolist() == [[0, 0, 1, 1]]
    assert odd == 2


def test_two_classes_read_16_bits():
    assert indices(TwoClasses(), [0, 300, 65535]) == [0, 0, 1]


def test_an_unknown_value_is_named(message_of):
    with pytest.raises(InputError) as caught:
        ListedValues({"0": 0, "2": 1}).indices(np.array([[0, 1, 2]]), lossy=False)
    assert "[1]" in message_of(caught)


def test_colours_and_greys_get_their_index():
    class_map = read_mask_colours("0=0 255,0,0=1 0,255,0=1 0,0,255=2")
    assert indices(class_map, [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]) == [0, 1, 1, 2]
    assert class_map.num_classes == 3


def test_jpeg_colours_go_to_the_nearest():
    values, odd = read_mask_colours("0=0 255,0,0=1").indices(np.array([[[250, 4, 3], [100, 0, 0]]]), lossy=True)
    assert values.tolist() == [[1, 0]]
    assert odd == 1


def test_an_unknown_colour_is_named(message_of):
    with pytest.raises(InputError) as caught:
        read_mask_colours("0=0 255,0,0=1").indices(np.array([[[0, 9, 0]]]), lossy=False)
    assert "0,9,0" in message_of(caught)


@pytest.mark.parametrize("text", ["red=1", "0,0=1", "0=0 300,0,0=1", "0=0", "0=0 9=2", "0=0 0=1 5=1", "0=-1 1=0"])
def test_wrong_mask_colours_are_refused(text, message_of):
    with pytest.raises(InputError) as caught:
        read_mask_colours(text)
    assert "--mask-colours" in message_of(caught)
