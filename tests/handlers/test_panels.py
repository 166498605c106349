from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler
from PIL import Image

from custom.drawing.panels import case_panel
from custom.drawing.sheet import sheet
from custom.handlers import panels
from custom.handlers.panels import PanelSaver

CPU = torch.device("cpu")


class Branches(torch.nn.Module):
    """Predicts its image's three channels."""

    def forward(self, images):
        return images


class RecordingTracker:
    def __init__(self) -> None:
        self.images = []

    def log_artifact(self, path, folder):
        self.images.append((path, folder))


def validation_items(count=5, label=True) -> list[dict]:
    """Images of one brightness each, 0.1, 0.2, ..., [3, 12, 9], with a label block."""
    truth = torch.zeros(1, 12, 9)
    truth[:, 3:8, 2:6] = 1
    items = []
    for number in range(count):
        image = MetaTensor(
            torch.full((3, 12, 9), (number + 1) / 10), meta={"filename_or_obj": f"/data/case_{number}.png"}
        )
        items.append({"image": image} | ({"label": truth} if label else {}))
    return items


def train(saver, max_epochs=3, validate_every=1, items=None, resume_after=0, batch_size=2) -> None:
    loader = DataLoader(Dataset(items or validation_items()), batch_size=batch_size)
    evaluator = SupervisedEvaluator(device=CPU, val_data_loader=loader, network=Branches())
    trainer = Engine(lambda engine, batch: {"loss": 0.0})
    if resume_after:
        trainer.load_state_dict({"epoch": resume_after, "max_epochs": max_epochs, "epoch_length": 1})
    ValidationHandler(validate_every, evaluator).attach(trainer)
    saver.attach(evaluator, trainer)
    trainer.run([0], max_epochs=max_epochs, epoch_length=1)


def pictures(folder) -> list[str]:
    return sorted(path.name for path in (folder / "panels").glob("*.png"))


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn: the arguments of every row."""
    rows = []

    def record(image, truth, predictions, **options):
        rows.append((image, truth, predictions, options))
        return case_panel(image, truth, predictions, **options)

    monkeypatch.setattr(panels, "case_panel", record)
    return rows


def test_every_validation_makes_a_picture_of_its_epoch(tmp_path):
    train(PanelSaver(tmp_path), max_epochs=3)
    assert pictures(tmp_path) == ["epoch_0001.png", "epoch_0002.png", "epoch_0003.png"]


def test_picture_has_one_row_for_each_chosen_image(tmp_path):
    items = validation_items()
    train(PanelSaver(tmp_path, indices=(0, 3)), max_epochs=1, items=items)
    predictions = dict(zip(("mean", "image_branch", "mask_branch"), items[0]["image"], strict=True))
    row = case_panel(items[0]["image"], items[0]["label"], predictions, heading="case_0.png")
    expected = sheet([row, row], title="Validation, epoch 1")
    with Image.open(tmp_path / "panels" / "epoch_0001.png") as picture:
        assert picture.size == expected.size
        assert np.asarray(picture).std() > 0


def test_rows_show_the_images_at_the_given_positions_over_several_batches(tmp_path, drawn):
    train(PanelSaver(tmp_path, indices=(0, 3)), max_epochs=1)
    brightness = [round(float(image.mean()), 1) for image, *_ in drawn]
    assert brightness == [0.1, 0.4]
    assert [options["heading"] for *_, options in drawn] == ["case_0.png", "case_3.png"]


def test_predictions_carry_the_names_of_the_branches(tmp_path, drawn):
    train(PanelSaver(tmp_path, indices=(0,), branches=("mean", "image_branch")), max_epochs=1)
    _, truth, predictions, _ = drawn[0]
    assert list(predictions) == ["mean", "image_branch"]
    assert all(prediction.shape == (12, 9) for prediction in predictions.values())
    assert truth.sum() == 20


def test_images_without_truth_are_drawn_without_it(tmp_path, drawn, monkeypatch):
    def predict(engine, batch):
        engine.state.output = [{"image": image, "pred": image} for image in batch["image"]]
        return engine.state.output

    loader = DataLoader(Dataset(validation_items(label=False)), batch_size=2)
    evaluator = SupervisedEvaluator(
        device=CPU, val_data_loader=loader, network=Branches(), iteration_update=predict, decollate=False
    )
    trainer = Engine(lambda engine, batch: {"loss": 0.0})
    ValidationHandler(1, evaluator).attach(trainer)
    PanelSaver(tmp_path).attach(evaluator, trainer)
    trainer.run([0], max_epochs=1)
    assert [truth for _, truth, *_ in drawn] == [None] * 4


def test_fewer_images_than_positions_are_no_error(tmp_path, drawn):
    train(PanelSaver(tmp_path), max_epochs=1, items=validation_items(count=2))
    assert len(drawn) == 2


def test_pictures_come_every_few_epochs_and_after_the_last(tmp_path):
    train(PanelSaver(tmp_path, every=2), max_epochs=5)
    assert pictures(tmp_path) == ["epoch_0002.png", "epoch_0004.png", "epoch_0005.png"]


def test_interval_that_validations_do_not_hit_takes_the_next_validation(tmp_path):
    train(PanelSaver(tmp_path, every=4), max_epochs=13, validate_every=3)
    # Validations at 3, 6, 9, 12; multiples 4, 8, 12.
    assert pictures(tmp_path) == ["epoch_0006.png", "epoch_0009.png", "epoch_0012.png"]


def test_nothing_is_drawn_between_pictures(tmp_path, drawn):
    train(PanelSaver(tmp_path, indices=(0,), every=3), max_epochs=3)
    assert len(drawn) == 1


def test_resumed_training_keeps_the_rhythm(tmp_path):
    train(PanelSaver(tmp_path, every=4), max_epochs=8, resume_after=5)
    assert pictures(tmp_path) == ["epoch_0008.png"]


def test_tracker_gets_the_picture_in_the_folder_of_its_stage(tmp_path):
    tracker = RecordingTracker()
    train(PanelSaver(tmp_path, tracker=tracker, stage="segmentation"), max_epochs=1)
    path = tmp_path / "panels" / "segmentation" / "epoch_0001.png"
    assert tracker.images == [(path, "panels/segmentation")]
    assert path.is_file()
