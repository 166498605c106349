from __future__ import annotations

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedEvaluator
from monai.handlers import ValidationHandler
from torch import nn

from custom.engines import Stage, TrainingRun
from custom.errors import InputError
from custom.handlers import StageCheckpoint
from custom.methods import Supervised, WeightAverage
from custom.networks import SemiGDA, load_model
from custom.tracking import ExperimentTracker
from tests.methods.conftest import disc_batches, make_batch, make_trainer, make_unet


def weights_of(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_the_average_by_hand():
    layer = nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer, decay=0.25)
    layer.weight.data.fill_(1.0)  # loaded after the average was made
    expected = 0.0
    for update, value in enumerate((3.0, 5.0, 7.0, 9.0, 4.0, -2.0)):
        layer.weight.data.fill_(value)
        average.update()
        decay = min(update / (10 + update), 0.25)
        expected = decay * expected + (1 - decay) * value
    assert average.weights["weight"].item() == pytest.approx(expected)
    with average.in_use():
        assert layer.weight.item() == pytest.approx(expected)
    assert layer.weight.item() == -2.0


def test_running_statistics_are_averaged_and_counts_are_those_of_the_network():
    layer = nn.BatchNorm1d(1)
    average = WeightAverage(layer, decay=0.5)
    average.update()
    layer.train()(torch.tensor([[1.0], [3.0]]))
    average.update()
    kept = average.weights
    assert kept["num_batches_tracked"] == 1
    assert 0 < kept["running_mean"].item() < layer.running_mean.item()


def test_before_its_first_update_the_average_is_the_network_as_it_is():
    layer = nn.Linear(1, 1, bias=False)
    average = WeightAverage(layer, decay=0.5)
    layer.weight.data.fill_(4.0)
    with average.in_use():
        assert layer.weight.item() == 4.0


def test_a_frozen_first_stage_is_not_copied():
    network = SemiGDA({"_class_name": "AutoencoderTiny"}, width=8, seed=0)
    average = WeightAverage(network, decay=0.9)
    assert average.weights.keys() == network.trainable_state_dict().keys()


@pytest.mark.parametrize("decay", [0.0, 1.0, -1, 2])
def test_a_decay_outside_is_refused(decay):
    with pytest.raises(InputError, match="ema_decay .*: give a number between 0 and 1"):
        WeightAverage(nn.Linear(1, 1), decay)


def test_a_resumed_training_continues_the_same_average(tmp_path):
    batches = disc_batches(2)

    def trained(folder, epochs, resume=False):
        trainer = make_trainer(Supervised, make_unet(), batches, max_epochs=epochs, ema_decay=0.9)
        checkpoint = StageCheckpoint(folder, "s", trainer, None, trainer.stateful_objects(), may_grow=True)
        assert checkpoint.restore() == resume
        checkpoint.attach()
        trainer.run()
        return trainer.average

    whole = trained(tmp_path / "whole", 2)
    trained(tmp_path / "parts", 1)
    resumed = trained(tmp_path / "parts", 2, resume=True)
    assert resumed.updates == whole.updates == 2 * len(batches)
    for name, tensor in whole.weights.items():
        assert torch.equal(tensor, resumed.weights[name]), name


def test_validation_and_the_saved_model_have_the_average_and_training_goes_on_without(tmp_path):
    """The network that validation sees equals model.pt, and neither is that of the last step."""
    network = make_unet()
    trainer = make_trainer(Supervised, network, [make_batch()] * 3, max_epochs=1, ema_decay=0.99)
    validated, trained = [], []

    class Evaluator(SupervisedEvaluator):
        def _iteration(self, engine, batchdata):
            validated.append(weights_of(network))
            return {}

    evaluator = Evaluator(device=torch.device("cpu"), val_data_loader=[{}], network=network)
    ValidationHandler(interval=1, validator=evaluator, epoch_level=True).attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: trained.append(weights_of(network)))
    tracker = ExperimentTracker(False, None, "experiment", "run", tmp_path)
    TrainingRun(tmp_path, {"segmentation": Stage(trainer, evaluator)}, tracker).run()
    saved = load_model(tmp_path / "model.pt").state_dict()
    assert all(torch.equal(saved[name], validated[0][name]) for name in saved)
    assert any(not torch.equal(saved[name], trained[-1][name]) for name in saved)
