from __future__ import annotations

import numpy as np
import pytest
import torch

from custom.handlers.case_sheet import Case, draw_cases, select_cases


@pytest.mark.parametrize(
    "count, expected",
    [
        (1, {"best 1": 0}),
        (2, {"best 1": 0, "worst 1": 1}),
        (3, {"best 1": 0, "median 1": 1, "worst 1": 2}),
        (5, {"best 1": 0, "best 2": 1, "median 1": 2, "worst 1": 4, "worst 2": 3}),
    ],
)
def test_few_images_are_shared_out_between_the_groups(count, expected):
    assert dict(select_cases(count, best=3, median=3, worst=3)) == expected


def test_median_cases_lie_in_the_middle_of_the_ranking():
    selected = dict(select_cases(101, best=3, median=3, worst=3))
    assert [selected[f"median {place}"] for place in (1, 2, 3)] == [49, 50, 51]
    assert selected["worst 1"] == 100


@pytest.mark.parametrize("count", range(1, 12))
def test_no_case_is_shown_twice(count):
    indices = [index for _, index in select_cases(count, best=3, median=3, worst=3)]
    assert len(set(indices)) == len(indices) and set(indices) <= set(range(count))


def test_kept_case_restores_labels_exactly():
    labels = torch.randint(256, (2, 12, 9), generator=torch.Generator().manual_seed(0))
    image, restored = Case.keep({}, torch.full((3, 12, 9), 0.5), labels).restore()
    assert np.array_equal(restored, labels.numpy())
    assert image.shape == (3, 160, 120) and abs(image - 0.5).max() < 0.02


def test_the_line_below_the_title_says_how_the_model_was_trained_and_not_how_files_are_read(monkeypatch):
    lines = []
    monkeypatch.setattr("custom.handlers.case_sheet.sheet", lambda panels, title, line: lines.append(line))
    details = {"method": "cps", "image_size": 64, "window": None, "class_names": ["a"], "bit_depth": 8, "seed": 0}
    case = Case.keep({"file": "a.png", "mean.dice": 0.5}, torch.zeros(3, 8, 8), torch.zeros(2, 8, 8))
    draw_cases([case], ["mean"], 2, {"best": 1, "median": 0, "worst": 0}, "Test", details)
    assert lines == ["1 images · method cps · image size 64 · seed 0"]
