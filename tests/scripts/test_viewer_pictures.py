from __future__ import annotations

import numpy as np
import pytest

from scripts.viewer_clients import outlines_of_asap
from scripts.viewer_pictures import SIDE, draw_exchange, draw_outlines, draw_segment, phantom, phantom_slices

ASAP = """<?xml version="1.0"?><ASAP_Annotations><Annotations><Annotation Name="lesion" Color="#ff0000"><Coordinates>
<Coordinate Order="0" X="2" Y="1" /><Coordinate Order="1" X="6" Y="1" /><Coordinate Order="2" X="6" Y="4.5" />
</Coordinates></Annotation></Annotations></ASAP_Annotations>"""


def is_red(figure):
    """Where the right panel of a figure of an image of 8 x 8 black pixels is rather red, pixel by pixel."""
    figure.draw_without_rendering()
    figure.canvas.draw()
    colours = np.asarray(figure.canvas.buffer_rgba()).astype(int)
    place = figure.axes[1].transData.transform([(x, y) for y in range(8) for x in range(8)]).round().astype(int)
    at = colours[colours.shape[0] - 1 - place[:, 1], place[:, 0]]
    return (at[:, 0] > at[:, 1] + 40).reshape(8, 8)


@pytest.fixture
def drawn():
    """Function (what draws an answer): where it is red."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def draw(answer):
        figure = draw_exchange(np.zeros((8, 8)), "sent", "answer", answer)
        assert [axes.get_title() for axes in figure.axes] == ["sent", "answer"]
        FigureCanvasAgg(figure)
        return is_red(figure)

    return draw


def test_a_label_map_is_drawn_where_it_is(drawn):
    mask = np.zeros((8, 8), np.uint8)
    mask[2:5, 1:7] = 1
    np.testing.assert_array_equal(drawn(lambda axes: draw_segment(axes, mask, "#ff0000")), mask > 0)
    assert not drawn(lambda axes: draw_segment(axes, mask * 0, "#ff0000")).any()


def test_outlines_are_drawn_with_the_first_pixel_from_0_to_1(drawn):
    square = np.array([[1, 2], [7, 2], [7, 5], [1, 5]])
    red = drawn(lambda axes: draw_outlines(axes, [("", "#ff0000", square)]))
    expected = np.zeros((8, 8), bool)
    expected[2:5, 1:7] = True
    np.testing.assert_array_equal(red, expected)


def test_asap_annotations_are_read_with_name_colour_and_points():
    ((name, colour, points),) = outlines_of_asap(ASAP)
    assert (name, colour) == ("lesion", "#ff0000")
    assert points.tolist() == [[2, 1], [6, 1], [6, 4.5]]


def test_the_slices_of_a_phantom_have_the_phantom_in_their_middle():
    slices = phantom_slices(0)
    assert slices.dtype == np.int16 and slices.shape[1:] == (SIDE, SIDE)
    np.testing.assert_array_equal(slices[len(slices) // 2], phantom(0).astype(int) * 4 - 300)
    assert (slices[0] != slices[len(slices) // 2]).mean() > 0.5
