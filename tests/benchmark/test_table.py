"""Statistics of the rows, worked out by hand."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from custom.benchmark.costs import Cost, inference_cost
from custom.benchmark.plan import Plan, Run
from custom.benchmark.results import Result
from custom.benchmark.table import compare, make_rows, method_table, row_values
from custom.tables import markdown_table, to_csv


def result(*dice, seconds=60.0, memory=1024.0, **scores):
    """A finished run with these Dice values of images a, b, c, ..."""
    by_image = dict(zip("abcdefgh", dice, strict=False))
    means = {"dice": sum(dice) / len(dice), "iou": 0.5, "hd95": 3.0, **scores}
    return Result(Path("run"), "mean", {}, means, by_image, seconds, memory)


def plan(methods, seeds=(0, 1)):
    return Plan(Path("bundle"), Path("data"), Path("datalist"), tuple(methods), ("10%",), tuple(seeds))


def rows_of(results, problems=(), seeds=(0, 1)):
    """Rows from {(method, seed): result}."""
    methods = list(dict.fromkeys(method for method, _ in [*results, *dict(problems)]))
    as_runs = {Run(method, "10%", seed): value for (method, seed), value in results.items()}
    missing = {Run(method, "10%", seed): why for (method, seed), why in dict(problems).items()}
    return make_rows(plan(methods, seeds), as_runs, missing)


def test_mean_and_sample_deviation_over_seeds():
    (row,) = rows_of({("a", 0): result(0.5, 0.7), ("a", 1): result(0.8, 0.8)})
    assert row.mean("dice") == pytest.approx(0.7)
    assert row.deviation("dice") == pytest.approx(0.1414213562)  # of 0.6 and 0.8, divided by n - 1


def test_one_seed_has_no_deviation():
    (row,) = rows_of({("a", 0): result(0.5, 0.7)}, seeds=(0,))
    assert row.deviation("dice") is None
    assert "| 60.00 |" in method_table([row], {"10%": 5})


def test_the_best_is_compared_with_the_second_and_all_others_with_the_best():
    rows = rows_of({("a", 0): result(0.9), ("b", 0): result(0.5), ("c", 0): result(0.7)}, seeds=(0,))
    assert [(row.difference.peer, round(row.difference.value, 6)) for row in rows] == [
        *(("c", 0.2), ("a", -0.4), ("a", -0.2))
    ]


def test_only_seeds_that_both_have_are_compared_image_by_image():
    rows = rows_of(
        {
            ("a", 0): result(0.2, 0.4),
            ("a", 1): result(1.0, 1.0),
            ("b", 0): result(0.1, 0.2),
        },
        {("b", 1): "unfinished"},
    )
    difference = rows[0].difference
    assert difference.value == pytest.approx(0.15)  # mean of 0.1 and 0.2, without a's second seed
    assert difference.low == pytest.approx(0.1) and difference.high == pytest.approx(0.2)


def test_images_are_matched_by_file_whatever_their_order():
    first, second = result(0.2, 0.8), result(0.1, 0.7)
    second.dice_by_image.update({"b": second.dice_by_image.pop("b"), "a": second.dice_by_image.pop("a")})
    rows = rows_of({("a", 0): first, ("b", 0): second}, seeds=(0,))
    assert (rows[0].difference.low, rows[0].difference.high) == pytest.approx((0.1, 0.1))


def test_methods_without_a_common_seed_are_not_compared():
    rows = rows_of({("a", 0): result(0.9), ("b", 1): result(0.5)}, {("a", 1): "not run", ("b", 0): "not run"})
    assert rows[0].difference is None and compare(rows[1], rows) is None


def test_problems_are_shown_in_the_row():
    rows = rows_of(
        {("a", 0): result(0.9)},
        {("a", 1): "failed: out of memory", ("b", 0): "not run", ("b", 1): "not run"},
    )
    table = method_table(rows, {"10%": 5})
    assert "| 10% (5) | a | 1/2 | 90.00 (seed 1 failed: out of memory) |" in table
    assert "| 10% (5) | b | 0/2 | not run | – | – |" in table


def test_costs_show_what_is_trained_only_where_it_is_not_all():
    (row,) = rows_of({("a", 0): result(0.9)}, seeds=(0,))
    row.cost = Cost(2_000_000, 2_000_000, 3_000_000_000)
    assert "| 2.00 | 3.00 |" in method_table([row], {"10%": 5})
    row.cost = Cost(2_000_000, 500_000, 3_000_000_000)
    assert "| 2.00 (0.50 trained) |" in method_table([row], {"10%": 5})


def test_classes_are_in_the_csv_file():
    (row,) = rows_of({("a", 0): result(0.9, dice_class_1=0.8), ("a", 1): result(0.7, dice_class_1=0.6)})
    line = next(csv.DictReader(io.StringIO(to_csv([row_values(row, 5)]).decode())))
    assert float(line["dice_class_1"]) == pytest.approx(0.7)
    assert line["labelled_images"] == "5"


def test_a_bar_in_a_message_does_not_break_the_table():
    assert markdown_table(["a"], [["x | y\nz"]]).splitlines()[-1] == "| x \\| y z |"


def test_multiplications_of_a_convolution_are_counted():
    from torch import nn

    network = nn.Conv2d(3, 4, 3, padding=1)
    network.bias.requires_grad_(False)
    # 4 filters of 3 x 3 x 3 weights at 8 x 8 places
    assert inference_cost(network, 8) == Cost(4 * 27 + 4, 4 * 27, 4 * 27 * 64)


def test_a_network_that_looks_at_values_is_counted_too():
    from torch import nn

    class Curious(nn.Conv2d):
        def forward(self, images):
            return super().forward(images) if images.sum().item() >= 0 else None

    assert inference_cost(Curious(3, 4, 3, padding=1), 8).macs == 4 * 27 * 64
