"""The plot and the choice of images."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from custom.benchmark import pictures
from custom.benchmark.pictures import choose_images, draw_pictures
from custom.benchmark.plot import draw_dice_by_labels
from custom.benchmark.table import Row
from custom.data import DataFacts
from tests.benchmark.test_table import result

BLUE, ORANGE = (31, 119, 180), (255, 127, 14)  # matplotlib's first two colours


def row(labels, method, *dice):
    return Row(labels, method, {seed: result(value) for seed, value in enumerate(dice)}, {})


def places(path, colour):
    """Columns and lines of a picture in which a colour occurs."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    lines, columns = np.nonzero((pixels == colour).all(axis=2))
    return columns, lines


def test_lines_run_over_the_labelled_images(tmp_path):
    rows = [row("10%", "a", 0.5, 0.6), row("10%", "b", 0.3), row("30%", "a", 0.8, 0.9), row("30%", "b", 0.4)]
    assert draw_dice_by_labels(rows, {"10%": 5, "30%": 15}, tmp_path / "plot.png", "title")
    columns, lines = places(tmp_path / "plot.png", BLUE)
    assert np.ptp(columns) > 500  # from the left to the right
    assert lines.min() < places(tmp_path / "plot.png", ORANGE)[1].min()  # the better method lies higher


def test_one_label_count_gives_a_line_of_dots_a_method(tmp_path):
    rows = [row("10%", "a", 0.5, 0.7), row("10%", "b", 0.3), row("10%", "failed")]
    assert draw_dice_by_labels(rows, {"10%": 5}, tmp_path / "plot.png")
    (first_columns, first_lines), (second_columns, second_lines) = (
        places(tmp_path / "plot.png", colour) for colour in (BLUE, ORANGE)
    )
    assert first_lines.max() < second_lines.min() and first_columns.min() > second_columns.max()


def test_nothing_is_drawn_of_nothing(tmp_path):
    assert not draw_dice_by_labels([row("10%", "a")], {"10%": 5}, tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").is_file()


def test_images_are_chosen_by_percentiles_of_the_mean_over_methods():
    first = {f"{number:02d}": number / 10 for number in range(11)}  # 0.0 to 1.0
    second = {name: 1.0 for name in first} | {"extra": 0.0}
    assert choose_images([first, second]) == ["01", "03", "05", "07", "09"]
    assert choose_images([second, first]) == ["01", "03", "05", "07", "09"]


def test_no_image_is_shown_twice():
    assert sorted(choose_images([{"a": 0.5, "b": 0.5, "c": 0.5}])) == ["a", "b", "c"]


def test_ignored_pixels_are_outlined_as_no_class(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "read_facts", lambda _: DataFacts())
    drawn = []
    for undecided in (0, 255):
        truth = torch.full((20, 20), float(undecided))
        truth[5:10, 5:10] = 1
        answer = {"a.png": (torch.zeros(3, 20, 20), truth, torch.zeros(20, 20))}
        monkeypatch.setattr(pictures, "predict", lambda *_, answer=answer: answer)
        results = {"method": SimpleNamespace(folder=tmp_path, dice_by_image={"a.png": 0.5})}
        draw_pictures(results, tmp_path, tmp_path, tmp_path, {}, tmp_path / "sheet.png")
        drawn.append(np.asarray(Image.open(tmp_path / "sheet.png")))
    assert np.array_equal(*drawn)
