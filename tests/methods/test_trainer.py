from __future__ import annotations

import copy
import math

import pytest
import torch
from monai.engines.utils import IterationEvents
from torch import nn

from custom.errors import InputError
from custom.losses import ConsistencyWeight
from custom.methods.trainer import MethodTrainer, dice_and_cross_entropy
from tests.methods.conftest import STEP, make_batch, make_trainer, make_unet, moved, run


class Recorder(MethodTrainer):
    """Keeps the batches, weights and progress that it is given; its loss is the mean of the logits."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.batches, self.weights, self.progresses, self.modes, self.calls = [], [], [], [], []

    def loss(self, batch, weight):
        self.batches.append(batch)
        self.weights.append(weight)
        self.progresses.append(self.progress)
        self.modes.append(self.network.training)
        self.calls.append("loss")
        value = self.forward(self.network, batch.images).mean()
        return value, {"mean": value}

    def after_step(self):
        self.calls.append("after_step")


class Strong(Recorder):
    strong_views = 1


class Scale(nn.Module):
    """Multiplies images by its weight: the gradient of the mean of the logits is the images' mean."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.unused = nn.Parameter(torch.tensor(weight))

    def logits(self, images):
        return self.weight * images

    def pieces(self, images, *others):
        return (self.weight * images, [self.weight * other for other in others], "name", None)


def record(batch, trainer_class=Recorder, network=None, **arguments):
    trainer = make_trainer(trainer_class, network or Scale(), [batch], **arguments)
    outputs = run(trainer)
    return trainer, outputs


# The batch


def test_labelled_rows_come_first():
    batch = make_batch(2, 3)
    trainer, _ = record(batch)
    (seen,) = trainer.batches
    assert torch.equal(seen.images, torch.cat([batch["labelled"]["image"], batch["unlabelled"]["image"]]))
    assert torch.equal(seen.labels, batch["labelled"]["label"])
    assert (seen.labelled, seen.unlabelled, seen.strong_views) == (2, 3, ())


def test_there_may_be_no_unlabelled_image():
    batch = make_batch(2, 0)
    trainer, _ = record(batch)
    (seen,) = trainer.batches
    assert torch.equal(seen.images, batch["labelled"]["image"])
    assert (seen.labelled, seen.unlabelled) == (2, 0)


@pytest.mark.parametrize("trainer_class", [Recorder, Strong])
@pytest.mark.parametrize("unlabelled", [0, 3])
def test_strong_images_come_in_the_same_order(unlabelled, trainer_class):
    batch = make_batch(2, unlabelled, strong=True)
    trainer, _ = record(batch, trainer_class)
    (seen,) = trainer.batches
    for view, key in zip(seen.strong_views, ("strong_image", "strong_image_2"), strict=True):
        assert torch.equal(view, torch.cat([part[key] for part in batch.values()]))
        assert view.shape == seen.images.shape
        assert not torch.equal(view, seen.images)


def test_missing_strong_images_are_refused_where_they_are_needed(message_of):
    with pytest.raises(InputError, match=r"Strong needs 1 strong views of each image \('strong_image'\)") as error:
        record(make_batch(), Strong)
    message_of(error)


def test_channels_last_holds_for_all_images():
    trainer, _ = record(make_batch(strong=True), channels_last=True)
    (seen,) = trainer.batches
    for images in (seen.images, *seen.strong_views):
        assert images.is_contiguous(memory_format=torch.channels_last)


# Time


def test_progress_and_weight_count_all_iterations_from_0():
    trainer = make_trainer(Recorder, Scale(), [make_batch(1, 1)] * 2, max_epochs=3)
    outputs = run(trainer)
    assert trainer.progresses == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    expected = [0.1 * math.exp(-5 * (1 - t / 6) ** 2) for t in range(6)]
    assert trainer.weights == pytest.approx(expected)
    assert [output["consistency_weight"] for output in outputs] == trainer.weights


def test_the_consistency_weight_is_the_one_given():
    trainer, _ = record(make_batch(), consistency_weight=ConsistencyWeight(beta=2.0))
    assert trainer.weights == pytest.approx([2 * math.exp(-5)])


# Steps


def test_an_iteration_trains_then_follows_up_and_puts_the_network_into_training_mode():
    trainer = make_trainer(Recorder, Scale().eval(), [make_batch()] * 2)
    trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, lambda engine: engine.network.eval())  # as validation
    run(trainer)
    assert trainer.calls == ["loss", "after_step"] * 2
    assert trainer.modes == [True, True]


def test_a_step_goes_down_the_gradient():
    batch, network = make_batch(), Scale(3.0)
    record(batch, network=network)
    mean = torch.cat([batch["labelled"]["image"], batch["unlabelled"]["image"]]).mean()
    torch.testing.assert_close(network.weight.data, 3 - STEP * mean)


def test_gradients_do_not_pile_up_over_iterations():
    gradients = []
    for epochs in (1, 3):
        network = Scale()
        record(make_batch(), network=network, max_epochs=epochs, learning_rate=0.0)
        gradients.append(network.weight.grad)
    assert torch.equal(*gradients)


def test_an_update_moves_only_what_the_optimiser_holds():
    network = make_unet()
    before = copy.deepcopy(network)
    record(make_batch(), network=network, optimizer=torch.optim.SGD(network.heads.parameters(), lr=0.1))
    assert moved(before, network) == {"heads.0.weight", "heads.0.bias"}


class TwoUpdates(MethodTrainer):
    """First pulls the weight down by the mean, then with another optimiser up by a third of it."""

    def step(self, batch, weight):
        first = self.forward(self.network, batch.images).mean()
        self.update(first, self.optimizer)
        second = self.forward(self.network, batch.images).mean()
        self.update(-second, self.second)
        return first, {"second": second}


def test_a_step_may_have_several_updates_none_of_which_sees_the_gradients_of_another():
    batch, network = make_batch(), Scale(3.0)
    trainer = make_trainer(TwoUpdates, network, [batch])
    trainer.second = torch.optim.SGD([network.weight], lr=STEP / 3)
    (output,) = run(trainer)
    mean = torch.cat([batch["labelled"]["image"], batch["unlabelled"]["image"]]).mean()
    torch.testing.assert_close(network.weight.data, 3 - 2 / 3 * STEP * mean)
    assert output["loss"] == pytest.approx(3 * mean.item())
    assert output["second"].item() == pytest.approx((3 - STEP * mean.item()) * mean.item())


# The outcome


def test_the_output_holds_the_loss_and_its_terms_without_their_graph():
    _, (output,) = record(make_batch(), network=Scale(2.0))
    assert set(output) == {"loss", "consistency_weight", "mean"}
    assert output["loss"] == output["mean"].item()
    assert not output["mean"].requires_grad


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_loss_that_is_no_finite_number_stops_the_run(weight, message_of):
    with pytest.raises(InputError, match=f"the loss became {weight} at iteration 1: lower the learning rate") as error:
        record(make_batch(), network=Scale(weight))
    message_of(error)


def test_every_event_of_an_iteration_fires_in_order():
    fired, trainer = [], make_trainer(Recorder, Scale(), [make_batch()])
    for event in IterationEvents:
        trainer.add_event_handler(event, fired.append, event)
    run(trainer)
    assert fired == [
        IterationEvents.FORWARD_COMPLETED,
        IterationEvents.LOSS_COMPLETED,
        IterationEvents.BACKWARD_COMPLETED,
        IterationEvents.MODEL_COMPLETED,
    ]


def test_a_subclass_without_a_loss_is_noticed():
    with pytest.raises(NotImplementedError):
        record(make_batch(), MethodTrainer)


# Precision


class Precise(Recorder):
    """Notes in which type the network computed, and in which type its logits arrived."""

    def loss(self, batch, weight):
        computed = []
        self.network.heads[0].register_forward_hook(lambda _module, _inputs, output: computed.append(output.dtype))
        logits = self.forward(self.network, batch.images)
        value = self.loss_function(logits[: batch.labelled], batch.labels)
        self.types = (*computed, logits.dtype, value.dtype)
        return value, {"supervised": value}


@pytest.mark.parametrize(("amp", "inside"), [(False, torch.float32), (True, torch.bfloat16)])
def test_bfloat16_stays_inside_the_network(amp, inside, cpu_with_bfloat16):
    trainer, _ = record(make_batch(), Precise, network=make_unet(), amp=amp)
    assert trainer.types == (inside, torch.float32, torch.float32)
    assert all(parameter.dtype == torch.float32 for parameter in trainer.network.parameters())


def test_bfloat16_gives_nearly_the_same_loss(cpu_with_bfloat16):
    losses = [
        record(make_batch(), Precise, network=make_unet(dropout=False), amp=amp)[1][0]["loss"] for amp in (False, True)
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_any_method_of_a_network_may_be_called_and_all_its_tensors_are_float32():
    trainer = make_trainer(Recorder, Scale(2.0).bfloat16(), [make_batch()], amp=True)
    images = torch.ones(1, 3, 2, 2, dtype=torch.bfloat16)
    first, (second,), name, nothing = trainer.forward(trainer.network, images, 3 * images, method="pieces")
    assert (first.dtype, second.dtype) == (torch.float32, torch.float32)
    assert (first.unique().tolist(), second.unique().tolist(), name, nothing) == ([2], [6], "name", None)


# The supervised loss


def dice_by_hand(logits, labels, num_classes):
    """1 - (2 sum p g + 1e-5) / (sum p^2 + sum g^2 + 1e-5) of each class over the whole batch, the mean over classes."""
    total = 0.0
    exponentials = [math.e**channel for channel in logits.unbind(dim=1)]
    for index in range(num_classes):
        p, g = exponentials[index] / sum(exponentials), (labels[:, 0] == index).float()
        total += 1 - (2 * (p * g).sum() + 1e-5) / ((p**2).sum() + (g**2).sum() + 1e-5)
    return total / num_classes


def cross_entropy_by_hand(logits, labels):
    """Minus the mean over all pixels of the logarithm of the right class' probability."""
    exponentials = math.e**logits
    right = torch.gather(exponentials, 1, labels.long())[:, 0]
    return -(right / exponentials.sum(dim=1)).log().mean()


@pytest.mark.parametrize("num_classes", [2, 3, 5])
@pytest.mark.parametrize("weights", [{}, {"dice_weight": 1.0, "cross_entropy_weight": 1.0}, {"dice_weight": 0.2}])
def test_the_supervised_loss_equals_its_formula(weights, num_classes):
    generator = torch.Generator().manual_seed(2)
    logits = 3 * torch.randn(3, num_classes, 6, 5, generator=generator)
    labels = torch.randint(num_classes, (3, 1, 6, 5), generator=generator).float()
    expected = weights.get("dice_weight", 0.5) * dice_by_hand(logits, labels, num_classes)
    expected += weights.get("cross_entropy_weight", 0.5) * cross_entropy_by_hand(logits, labels)
    torch.testing.assert_close(dice_and_cross_entropy(**weights)(logits, labels), expected)


def test_a_loss_of_zero_weight_is_left_out():
    logits, labels = torch.randn(2, 2, 4, 4), torch.randint(2, (2, 1, 4, 4)).float()
    dice, entropy = dice_and_cross_entropy(1.0, 0.0), dice_and_cross_entropy(0.0, 1.0)
    torch.testing.assert_close(dice(logits, labels), dice_by_hand(logits, labels, 2))
    torch.testing.assert_close(entropy(logits, labels), cross_entropy_by_hand(logits, labels))


def test_sure_and_right_costs_nothing_and_sure_and_wrong_much():
    labels = torch.randint(3, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    right = 50 * nn.functional.one_hot(labels[:, 0].long(), 3).movedim(-1, 1).float()
    loss = dice_and_cross_entropy()
    assert loss(right, labels).item() == pytest.approx(0, abs=1e-4)
    # cross-entropy 50 and Dice loss 1, each counting half
    assert loss(right.roll(1, dims=1), labels).item() == pytest.approx(25.5, abs=1e-3)


def test_the_trainer_has_the_supervised_loss_unless_another_is_given():
    logits, labels = torch.randn(2, 2, 4, 4), torch.randint(2, (2, 1, 4, 4)).float()
    given = nn.CrossEntropyLoss()
    trainer = make_trainer(Recorder, Scale(), [make_batch()])
    torch.testing.assert_close(trainer.loss_function(logits, labels), dice_and_cross_entropy()(logits, labels))
    assert make_trainer(Recorder, Scale(), [make_batch()], loss_function=given).loss_function is given
