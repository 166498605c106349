from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine

from custom.handlers import TrackingHandler
from custom.tracking import ExperimentTracker
from tests.tracking.trainings import CountingTrainer, figures, train


@pytest.fixture
def tracker(tmp_path):
    """Writes the table alone."""
    return ExperimentTracker(False, None, "test", "run", tmp_path / "run")


def test_outputs_that_are_no_scalars_are_left_out(tracker):
    train(tracker, CountingTrainer())
    assert figures(tracker, "pred") == []


def test_learning_rates_of_several_optimisers_and_groups_have_names_of_their_own(tracker):
    trainer = CountingTrainer(max_epochs=1, epoch_length=1)
    groups = [{"params": [torch.zeros(1)], "lr": 0.1, "name": "head"}, {"params": [torch.zeros(1)], "lr": 0.2}]
    trainer.optimizers = {"mapper": trainer.optimizer, "encoder": torch.optim.SGD(groups, lr=1.0)}
    train(tracker, trainer)
    assert figures(tracker, "learning_rate/mapper") == [(1, 0.5)]
    assert figures(tracker, "learning_rate/encoder/head") == [(1, 0.1)]
    assert figures(tracker, "learning_rate/encoder/1") == [(1, 0.2)]


def test_speed_counts_labelled_and_unlabelled_images(tracker):
    train(tracker, CountingTrainer(max_epochs=1, epoch_length=3))
    (_, seconds), (_, speed) = figures(tracker, "epoch_seconds")[0], figures(tracker, "images_per_second")[0]
    assert seconds * speed == pytest.approx(3 * (2 + 4), rel=1e-4)


def test_speed_counts_the_images_of_all_processes(tracker, monkeypatch):
    monkeypatch.setattr("custom.handlers.tracking.idist.get_world_size", lambda: 3)
    train(tracker, CountingTrainer(max_epochs=1, epoch_length=3))
    (_, seconds), (_, speed) = figures(tracker, "epoch_seconds")[0], figures(tracker, "images_per_second")[0]
    assert seconds * speed == pytest.approx(3 * 3 * (2 + 4), rel=1e-4)


def test_exception_reaches_the_caller(tracker):
    with pytest.raises(RuntimeError, match="no memory"):
        train(tracker, CountingTrainer(fails_at=2, error=RuntimeError("no memory")))


def test_plain_ignite_engine_without_optimiser_can_be_tracked(tracker):
    engine = Engine(lambda engine, batch: {"loss": 1.0})
    TrackingHandler(tracker, "alignment", interval=1).attach(engine)
    engine.run([0, 0], max_epochs=1)
    assert figures(tracker, "loss") == [(1, 1.0), (2, 1.0)]
