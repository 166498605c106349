from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from custom.errors import InputError
from custom.pixels.mask_facts import mask_facts
from custom.pixels.masks import Mask
from custom.prepare.classes import TwoClasses
from custom.prepare.conventions import find_classes


def disc(radius=6, side=48):
    rows, columns = np.mgrid[:side, :side] - side // 2
    return rows**2 + columns**2 <= radius**2


def found(*files, ignore_value=None, palette=None, **facts):
    """The class map of masks, each given by its values."""
    made = []
    for number, values in enumerate(files):
        values = np.atleast_2d(values)
        bits = 16 if values.max() > 255 else 8
        made.append(mask_facts(Mask(values, palette, bits, **facts), f"{number}.png"))
    return find_classes(made, ignore_value)


@pytest.fixture
def refused(message_of):
    def check(*files, **facts):
        with pytest.raises(InputError) as caught:
            found(*files, **facts)
        return message_of(caught)

    return check


def test_any_two_values_are_two_classes():
    assert found([0, 7], [0, 0]).classes == {"0": 0, "7": 1}


def test_values_become_classes_in_their_order():
    assert found([255, 0, 128]).classes == {"0": 0, "128": 1, "255": 2}


@pytest.mark.parametrize("ones", [1, 6, 11])
@pytest.mark.parametrize("radius", [1, 6, 20])
def test_files_of_0_and_1_go_with_files_of_0_and_255_and_65535(ones, radius):
    files = [disc(radius) * 1] * ones + [disc() * 255] * (12 - ones) + [disc() * 65535, disc() * 0]
    assert found(*files).classes == {"0": 0, "1": 1, "255": 1, "65535": 1}


@pytest.mark.parametrize("radius", [3, 6, 20])
def test_smooth_files_go_with_files_of_0_and_1(radius):
    smooth = np.rint(ndimage.gaussian_filter(disc(radius) * 255.0, 0.8)).astype(np.uint8)
    class_map = found(smooth, disc() * 1, disc() * 255)
    assert isinstance(class_map, TwoClasses)
    assert set(class_map.classes) == {"0", "1", "255"}


def test_files_that_lack_classes_stay_index_maps():
    assert found([0, 1], [0, 2], [0, 0], [0, 1, 3]).classes == {"0": 0, "1": 1, "2": 2, "3": 3}
    assert found([0, 128], [0, 255], [0, 128, 255]).num_classes == 3


def test_indices_above_255_are_classes():
    assert found([0, 12], [0, 260, 300]).classes == {"0": 0, "12": 1, "260": 2, "300": 3}


def test_greys_of_a_wide_structure_are_classes():
    bands = np.repeat([0, 32, 64, 96, 128, 160, 192, 224, 255], 12)
    assert found(np.tile(bands, (20, 1))).num_classes == 9


@pytest.mark.parametrize(
    "files", [([0, 255], [0, 1, 2]), ([0, 1, 2], [0, 65535]), ([0, 1], [0, 128], [0, 255]), ([0, 255], [0, 260, 300])]
)
def test_files_that_do_not_go_together_are_both_named(refused, files):
    message = refused(*files)
    assert "0.png" in message
    assert "1.png" in message
    assert "--mask-colours" in message
    assert "--ignore-value" in message


def test_index_maps_beside_smooth_files_are_refused(refused):
    smooth = np.rint(ndimage.gaussian_filter(disc() * 255.0, 1)).astype(np.uint8)
    assert "do not go together" in refused(*[smooth] * 11, disc() * 2 + disc(3))


@pytest.mark.parametrize("values", [[0, 1, 255], [0, 1, 2, 3, 255], [0, 2, 255], [0, 1, 2, 250], [0, 1, 65535]])
def test_a_value_far_beyond_small_indices_is_asked_about(refused, values):
    message = refused([0, 1], values)
    assert f"--ignore-value {values[-1]}" in message
    assert "1.png" in message


@pytest.mark.parametrize("greys", [(128, 255), (100, 200), (255, 254)])
def test_files_with_one_grey_each_that_differs_are_refused(refused, greys):
    message = refused(*(disc() * grey for grey in greys), disc() * 0)
    assert "0.png" in message
    assert "1.png" in message


def test_greys_along_outlines_that_are_too_many_to_be_counted_as_smooth_are_no_classes(refused):
    blurred = np.rint(ndimage.gaussian_filter(disc(4) * 255.0, 3)).astype(np.uint8)
    assert "too many for classes" in refused(blurred, disc() * 1)


def test_many_small_indices_are_classes():
    assert len(found([*range(21), 40]).classes) == 22


def test_a_value_for_undecided_pixels_is_no_class():
    assert found([0, 1, 255], [0, 0], [255, 255], ignore_value=255).classes == {"0": 0, "1": 1}
    assert found([0, 1, 2, 255], ignore_value=255).num_classes == 3


def test_jpeg_greys_near_0_and_255_are_two_classes():
    assert isinstance(found([0] * 60 + [3] * 8 + [250] * 8 + [255] * 20 + [130] * 4, lossy=True), TwoClasses)


def test_stray_values_are_two_classes():
    assert isinstance(found([0] * 70_000 + [254] * 3 + [255] * 30_000), TwoClasses)


class TestPalettes:
    FOUR = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)

    def find(self, *pairs):
        return find_classes(
            [mask_facts(Mask(np.array([i]), np.array(p, np.uint8)), f"{n}.png") for n, (i, p) in enumerate(pairs)]
        )

    def test_indices_of_colours_are_classes(self):
        assert found([0, 1, 2, 3], [0, 3], palette=self.FOUR).num_classes == 4

    def test_palettes_are_never_smooth(self):
        palette = np.tile(np.arange(256, dtype=np.uint8)[:, None], (1, 3))
        palette[5] = (200, 0, 0)
        assert not isinstance(found([0, 40, 128, 255], palette=palette), TwoClasses)

    def test_black_and_one_other_colour_are_read_by_colour(self):
        class_map = self.find(([0, 1], [(0, 0, 0), (9, 0, 0)]), ([0, 1], [(9, 0, 0), (0, 0, 0)]))
        assert class_map.classes == {"0": 0, "9,0,0": 1}
        assert class_map.by_colour

    def test_palettes_that_disagree_are_refused_with_two_names(self, message_of):
        swapped = self.FOUR[[0, 2, 1, 3]]
        with pytest.raises(InputError) as caught:
            self.find(([0, 1], self.FOUR), ([0, 3], self.FOUR), ([0, 1, 2], swapped))
        assert "0.png" in message_of(caught)
        assert "2.png" in message_of(caught)

    def test_palettes_may_differ_in_colours_that_do_not_occur(self):
        assert self.find(([0, 1, 3], self.FOUR), ([0, 3], self.FOUR[[0, 2, 1, 3]])).num_classes == 3

    def test_white_and_black_numbered_differently_are_refused_with_two_names(self, message_of):
        with pytest.raises(InputError) as caught:
            self.find(([0, 1], [(0,) * 3, (255,) * 3]), ([0, 1], [(255,) * 3, (0,) * 3]))
        assert "0.png" in message_of(caught)
        assert "1.png" in message_of(caught)

    @pytest.mark.parametrize("values", [[0, 1], [0, 0], [1, 1]])
    def test_falling_greys_are_refused(self, values, message_of):
        with pytest.raises(InputError) as caught:
            self.find((values, [(255,) * 3, (0,) * 3]))
        assert "--mask-colours" in message_of(caught)

    def test_an_empty_file_with_a_white_background_stays_empty(self):
        class_map = self.find(([0, 0], [(255,) * 3, (9, 0, 0)]), ([0, 1], [(255,) * 3, (9, 0, 0)]))
        empty = Mask(np.array([[0, 0]]), np.array([(255,) * 3, (9, 0, 0)], np.uint8))
        assert class_map.indices(empty)[0].tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("values", "facts", "words"),
    [
        ([0, 0], {}, "only the value 0"),
        ([0] * 30 + [60] * 30 + [120] * 30 + [255] * 10, {"lossy": True}, "JPEG"),
        ([0, 1] * 9, {"lossy": True}, "JPEG"),
        (list(range(100)), {}, "100 values"),
        ([[[255, 0, 0], [0, 0, 0]]], {}, "255,0,0"),
    ],
)
def test_masks_without_clear_classes_are_refused(values, facts, words, refused):
    assert words in refused(values, **facts)


def test_a_palette_of_two_colours_beside_index_maps_counts_by_its_indices():
    two = mask_facts(Mask(np.array([[0, 1]]), np.array([(0, 0, 0), (200, 0, 0)], np.uint8)), "two.png")
    three = mask_facts(Mask(np.array([[0, 1, 2]])), "three.png")
    assert find_classes([two, three]).num_classes == 3
