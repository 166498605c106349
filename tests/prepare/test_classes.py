from __future__ import annotations

import numpy as np
import pytest

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.pixels.masks import Mask
from custom.prepare.classes import ListedValues, TwoClasses, read_mask_colours


def mask(values, *palette, **facts):
    colours = np.array(palette, np.uint8) if palette else None
    return Mask(np.array([values]), colours, **facts)


def indices(class_map, values, *palette, **facts):
    return class_map.indices(mask(values, *palette, **facts))[0][0].tolist()


BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (255, 0, 0)


def test_listed_values_become_their_classes():
    class_map = ListedValues({"0": 0, "128": 1, "255": 2})
    assert class_map.num_classes == 3
    assert indices(class_map, [255, 0, 128]) == [2, 0, 1]


def test_an_unknown_value_is_named(message_of):
    with pytest.raises(InputError) as caught:
        indices(ListedValues({"0": 0, "2": 1}), [0, 1, 2])
    assert "[1]" in message_of(caught)


def test_values_above_255_never_wrap():
    assert indices(ListedValues({"0": 0, "260": 1, "300": 2}), [0, 260, 300]) == [0, 1, 2]


def test_two_classes_read_0_and_1_and_count_no_odd_pixel():
    assert TwoClasses().indices(mask([0, 1]))[1] == 0
    assert indices(TwoClasses(), [0, 1]) == [0, 1]
    assert indices(TwoClasses(), [1, 1]) == [1, 1]


def test_two_classes_read_any_single_foreground_value():
    assert indices(TwoClasses(), [0, 38]) == [0, 1]


def test_two_classes_part_greys_at_half_and_count_them():
    values, odd = TwoClasses().indices(mask([0, 127, 128, 255], lossy=True))
    assert values.tolist() == [[0, 0, 1, 1]]
    assert odd == 2


def test_two_classes_read_16_bits():
    assert indices(TwoClasses(), [0, 300, 65535]) == [0, 0, 1]


def test_two_classes_read_a_palette_with_black_by_its_colours():
    assert indices(TwoClasses(), [0, 1], BLACK, RED) == [0, 1]
    assert indices(TwoClasses(), [0, 1], RED, BLACK) == [1, 0]
    assert indices(TwoClasses(by_colour=True), [0, 0], RED, BLACK) == [1, 1]
    assert indices(TwoClasses(by_colour=False), [0, 0], WHITE, RED) == [0, 0]


def test_undecided_pixels_become_the_ignored_label():
    assert indices(ListedValues({"0": 0, "1": 1}, 255), [0, 1, 255]) == [0, 1, IGNORED_LABEL]
    assert indices(TwoClasses({"0": 0, "1": 1}, 7), [7, 1, 0]) == [IGNORED_LABEL, 1, 0]
    assert indices(TwoClasses(ignore_value=7), [7, 7]) == [IGNORED_LABEL] * 2
    assert indices(read_mask_colours("0=0 1=1", 9), [0, 9, 1]) == [0, IGNORED_LABEL, 1]


def test_colours_and_greys_get_their_index():
    class_map = read_mask_colours("0=0 255,0,0=1 0,255,0=1 0,0,255=2")
    assert indices(class_map, [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]]) == [0, 1, 1, 2]
    assert class_map.num_classes == 3


def test_a_palette_is_read_by_the_colours_that_are_named():
    assert indices(read_mask_colours("255=0 0=1"), [0, 1], WHITE, BLACK) == [0, 1]
    assert indices(read_mask_colours("0=0 255,0,0=1"), [0, 1], RED, BLACK) == [1, 0]


def test_a_palette_is_read_by_indices_where_these_are_named():
    assert indices(read_mask_colours("0=0 1=1"), [0, 1], WHITE, RED) == [0, 1]


def test_jpeg_colours_go_to_the_nearest():
    values, odd = read_mask_colours("0=0 255,0,0=1").indices(mask([[250, 4, 3], [100, 0, 0]], lossy=True))
    assert values.tolist() == [[1, 0]]
    assert odd == 1


def test_an_unknown_colour_is_named(message_of):
    with pytest.raises(InputError) as caught:
        indices(read_mask_colours("0=0 255,0,0=1"), [[0, 9, 0]])
    assert "0,9,0" in message_of(caught)


@pytest.mark.parametrize("text", ["red=1", "0,0=1", "0=0 300,0,0=1", "0=0", "0=0 9=2", "0=0 0=1 5=1", "0=-1 1=0"])
def test_wrong_mask_colours_are_refused(text, message_of):
    with pytest.raises(InputError) as caught:
        read_mask_colours(text)
    assert "--mask-colours" in message_of(caught)
