from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from custom.drawing.pictures import (
    DISAGREEMENT_COLOUR,
    TRUTH_COLOUR,
    captioned_row,
    case_panel,
    disagreement_tile,
    draw_contour,
    sheet,
    tile,
)

RED = (255, 0, 0)


def left_half(width: int = 40, height: int = 20) -> np.ndarray:
    """1 in the left half of the picture, [W, H]."""
    mask = np.zeros((width, height), np.float32)
    mask[: width // 2] = 1
    return mask


def contains(picture: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(picture) == colour).all(axis=2).any())


def black(size: tuple[int, int] = (80, 40)) -> Image.Image:
    return Image.new("RGB", size)


def test_tile_is_upright_and_keeps_its_proportions():
    picture = tile(left_half(), size=80)
    assert picture.size == (80, 40)
    assert picture.getpixel((5, 35)) == (255, 255, 255)
    assert picture.getpixel((75, 5)) == (0, 0, 0)


def test_tile_keeps_channels_and_clips_values():
    image = torch.zeros(3, 4, 4)
    image[0], image[1] = 2.0, -1.0
    assert tile(image, size=8).getpixel((4, 4)) == (255, 0, 0)


def test_tile_refuses_a_batch():
    with pytest.raises(ValueError, match=r"\[3, W, H\]"):
        tile(np.zeros((2, 3, 4, 4)))


def test_contour_runs_along_the_edge_of_the_mask():
    drawn = draw_contour(black(), left_half(), RED, width=2)
    coloured = np.asarray(drawn)[:, :, 0] > 200
    columns = np.flatnonzero(coloured[20])
    assert 38 <= columns.max() <= 41  # the mask ends at x = 40
    assert columns.min() <= 1  # closed along the border of the image
    assert not coloured[20, 10:30].any()


def test_contour_leaves_the_given_tile_alone():
    ground = black()
    draw_contour(ground, left_half(), RED)
    assert not contains(ground, RED)


@pytest.mark.parametrize("fill, coloured", [(0.0, False), (1.0, True)])
def test_empty_mask_draws_nothing_and_full_mask_its_border(fill, coloured):
    assert contains(draw_contour(black(), np.full((40, 20), fill), RED, width=2), RED) is coloured


def test_disagreement_shows_where_hard_labels_differ():
    image = np.full((40, 20), 0.5)
    # 0.4 and 0.6 round to different labels in the left half, 0.6 and 0.6 to the same one in the right.
    shown = disagreement_tile(image, 0.6 - 0.2 * left_half(), np.full((40, 20), 0.6), size=80)
    assert shown.getpixel((10, 20)) == DISAGREEMENT_COLOUR
    assert max(shown.getpixel((70, 20))) < 128


def test_row_needs_a_caption_for_each_tile():
    with pytest.raises(ValueError, match="one caption a tile"):
        captioned_row([black()], [])


def test_captions_do_not_run_into_the_next_tile():
    long = captioned_row([black(), black()], ["a caption much longer than its tile " * 4, ""])
    gap_column = np.asarray(long)[:, 80:88]
    assert (gap_column == 255).all()


def test_texts_make_room_for_themselves():
    bare = captioned_row([black()], [""])
    assert bare.size == (80, 40)
    assert captioned_row([black()], ["image"]).height > bare.height
    assert captioned_row([black()], [""], heading="first").height > bare.height


def test_sheet_stacks_rows_of_different_widths():
    rows = [black((80, 40)), black((200, 30))]
    paper = sheet(rows)
    assert paper.width > 200 and paper.height > 70
    assert (np.asarray(paper) == 0).all(axis=2).sum() == 80 * 40 + 200 * 30


def test_panel_of_an_unlabelled_image_has_no_truth():
    image = np.full((3, 40, 20), 0.5)
    labelled = case_panel(image, left_half(), {"mean": left_half()}, size=80)
    unlabelled = case_panel(image, None, {"mean": left_half()}, size=80)
    assert contains(labelled, TRUTH_COLOUR) and not contains(unlabelled, TRUTH_COLOUR)
    assert labelled.width - unlabelled.width == unlabelled.width - tile(image, 80).width == 88  # one tile and its gap


def test_panel_shows_disagreement_of_two_branches_only():
    image = torch.full((3, 40, 20), 0.5)
    one = {"mean": left_half(), "image_branch": left_half()}
    two = {**one, "mask_branch": np.zeros((40, 20))}
    assert not contains(case_panel(image, left_half(), one), DISAGREEMENT_COLOUR)
    assert contains(case_panel(image, left_half(), two), DISAGREEMENT_COLOUR)


def test_panel_draws_the_mean_after_the_branches():
    image, empty = np.zeros((3, 40, 20)), np.zeros((40, 20))
    panel = case_panel(image, None, {"mean": left_half(), "image_branch": empty}, size=80)
    image_tile, branch, mean = (np.asarray(panel)[:40, left : left + 80] for left in (0, 88, 176))
    assert np.array_equal(branch, image_tile) and not np.array_equal(mean, image_tile)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_ignored_pixels_are_grey_and_outlined_as_no_class(num_classes):
    image, nothing = np.zeros((3, 40, 20)), {"mean": np.zeros((40, 20))}
    undecided = case_panel(image, 255 * left_half(), nothing, num_classes, size=80)
    empty = case_panel(image, np.zeros((40, 20)), nothing, num_classes, size=80)
    truth = np.asarray(undecided)[:40, 88:168].astype(int)
    assert truth[20, 5].tolist() == truth[35, 30].tolist() and 60 < truth[20, 5].mean() < 128
    assert not truth[:, 45:].any() and np.ptp(truth, axis=2).max() == 0  # no outline has a colour
    assert np.array_equal(np.asarray(undecided)[:40, 176:], np.asarray(empty)[:40, 176:])


def test_a_class_beside_ignored_pixels_keeps_its_outline():
    truth = left_half() + 255 * np.flip(left_half(), axis=0)
    assert contains(case_panel(np.zeros((3, 40, 20)), truth, {}, size=80), TRUTH_COLOUR)
