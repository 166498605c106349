from __future__ import annotations

import csv

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor

from custom.handlers import PredictionTable


def source(name):
    return {"image": MetaTensor(torch.zeros(3, 4, 2), meta={"filename_or_obj": name})}


def prediction(mask, probability, disagreement):
    """Maps of an image 4 wide and 2 high, [1, W, H], of one value in each half."""
    halves = ((mask, "pred"), (probability, "probability"), (disagreement, "disagreement"))
    return {name: torch.tensor(values).repeat_interleave(4).view(1, 4, 2) for values, name in halves}


def write(path, batches):
    """Run an engine over (sources, predictions); returns the rows of the table and the engine."""

    def step(engine, batch):
        engine.state.batch, predictions = batch
        return predictions

    engine, table = Engine(step), PredictionTable(path)
    table.attach(engine)
    engine.run(batches)
    with open(path, newline="") as file:
        return list(csv.DictReader(file)), engine


BATCH = (
    [source("a.png"), source("b.png")],
    [
        prediction(mask=(1.0, 0.0), probability=(0.75, 0.0), disagreement=(0.5, 0.0)),
        prediction(mask=(0.0, 0.0), probability=(0.5, 0.5), disagreement=(0.0, 0.0)),
    ],
)


def test_every_image_has_a_row(tmp_path):
    rows, _ = write(tmp_path / "table.csv", [BATCH])
    assert [row["image"] for row in rows] == ["a.png", "b.png"]
    assert list(rows[0]) == ["image", "width", "height", "slices", "foreground_share", "disagreement", "uncertainty"]


def test_size_is_width_and_height(tmp_path):
    rows, _ = write(tmp_path / "table.csv", [BATCH])
    assert (rows[0]["width"], rows[0]["height"], rows[0]["slices"]) == ("4", "2", "1")


def test_values_are_means_over_the_image(tmp_path):
    rows, _ = write(tmp_path / "table.csv", [BATCH])
    values = [[float(row[name]) for name in ("foreground_share", "disagreement", "uncertainty")] for row in rows]
    # uncertainty: 1 - |2 * 0.75 - 1| = 0.5 in one half and 0 in the other; 1 where the probability is 1/2
    assert values == [[0.5, 0.25, 0.25], [0, 0, 1]]


def test_every_class_above_background_counts_as_foreground(tmp_path):
    batch = ([source("a.png")], [prediction(mask=(1.0, 2.0), probability=(0.5, 1.0), disagreement=(0.0, 0.0))])
    rows, _ = write(tmp_path / "table.csv", [batch])
    assert float(rows[0]["foreground_share"]) == 1


def test_all_batches_are_collected_and_the_folder_is_made(tmp_path):
    rows, _ = write(tmp_path / "new" / "table.csv", [BATCH, BATCH, BATCH])
    assert len(rows) == 6


def test_a_second_run_starts_a_new_table(tmp_path):
    _, engine = write(tmp_path / "table.csv", [BATCH, BATCH])
    engine.run([BATCH])
    with open(tmp_path / "table.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 2


def test_images_and_predictions_must_pair_up(tmp_path):
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        write(tmp_path / "table.csv", [([source("a.png"), source("b.png")], BATCH[1][:1])])
