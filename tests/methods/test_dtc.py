from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.losses import ConsistencyWeight
from custom.methods import DualTaskConsistency
from custom.networks import DistanceUNet
from tests.methods.conftest import make_batch, make_trainer, make_unet, run


class Table(nn.Module):
    """Answers every image with the same class probabilities [pixels][K] and distances [pixels][K - 1]."""

    def __init__(self, pixels, distances):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(pixels).T[None, :, None].log())
        self.distances = nn.Parameter(torch.tensor(distances).T[None, :, None])
        self.num_classes = self.logits.shape[1]

    def logits_and_distances(self, images):
        return self.logits.expand(len(images), -1, -1, -1), self.distances.expand(len(images), -1, -1, -1)


def batch_of(label, unlabelled=1):
    """One labelled row of pixels with these classes, and unlabelled ones."""
    labels = torch.tensor(label).view(1, 1, 1, -1)
    batch = {"labelled": {"image": torch.zeros(1, 3, 1, len(label)), "label": labels}}
    if unlabelled:
        batch["unlabelled"] = {"image": torch.zeros(unlabelled, 3, 1, len(label))}
    return batch


def outcome(network, batch, **arguments):
    (output,) = run(make_trainer(DualTaskConsistency, network, [batch], **arguments))
    return output


def test_distances_are_compared_with_those_of_the_labels():
    # The label has the signed distances 1, 0.5, 0 and -1: one pixel of the class is next to its outline.
    network = Table([[0.5, 0.5]] * 4, [[0.6], [0.2], [0.3], [-0.5]])
    output = outcome(network, batch_of([0.0, 0.0, 1.0, 1.0]))
    assert output["distance"].item() == pytest.approx((0.4**2 + 0.3**2 + 0.3**2 + 0.5**2) / 4)
    supervised = output["supervised"].item()
    weight = ConsistencyWeight(0.1)(0, 1, 1)
    assert output["loss"] == pytest.approx(
        supervised + 0.3 * output["distance"].item() + weight * output["consistency"].item()
    )


def test_undecided_pixels_are_left_out_of_the_distances():
    network = Table([[0.5, 0.5]] * 4, [[0.6], [0.2], [0.3], [-0.5]])
    output = outcome(network, batch_of([0.0, IGNORED_LABEL, 1.0, 1.0]))
    # Without the second pixel the third one is two away from the outside, the last one three: 1, -2/3 and -1
    assert output["distance"].item() == pytest.approx((0.4**2 + (0.3 + 2 / 3) ** 2 + 0.5**2) / 3)


def test_the_consistency_compares_the_foreground_with_a_steep_sigmoid_of_minus_the_distance():
    network = Table([[0.3, 0.7], [0.9, 0.1]], [[-0.1], [0.2]])
    output = outcome(network, batch_of([0.0, 1.0]), steepness=10.0)
    squares = [(1 / (1 + math.exp(-1)) - 0.7) ** 2, (1 / (1 + math.exp(2)) - 0.1) ** 2]
    assert output["consistency"].item() == pytest.approx(sum(squares) / 2, rel=1e-4)


def test_with_more_classes_the_consistency_is_the_mean_over_the_foreground_ones():
    network = Table([[0.2, 0.5, 0.3]], [[-1.0, 1.0]])  # certainly class 1, certainly not class 2
    output = outcome(network, batch_of([2.0]))
    assert output["consistency"].item() == pytest.approx((0.5**2 + 0.3**2) / 2)


def test_the_consistency_moves_both_predictions_and_labelled_rows_count_too():
    network = Table([[0.3, 0.7], [0.9, 0.1]], [[-0.1], [0.2]])
    trainer = make_trainer(DualTaskConsistency, network, [batch_of([0.0, 1.0])], steepness=10.0)
    gradients = {}

    def step(batch, weight):
        loss, terms = trainer.loss(batch, weight)
        terms["consistency"].backward(retain_graph=True)
        gradients.update({name: parameter.grad.clone() for name, parameter in network.named_parameters()})
        network.zero_grad()
        return loss, terms

    trainer.step = step
    run(trainer)
    assert gradients["logits"].any()
    assert gradients["distances"].any()
    # d/dz of the mean over both rows and both pixels: all rows answer alike, so it is that of one row
    q = 1 / (1 + math.exp(-1))
    assert gradients["distances"][0, 0, 0, 0].item() == pytest.approx(2 * (q - 0.7) / 2 * -10 * q * (1 - q), rel=1e-4)


def test_labels_only_leave_the_supervised_loss_and_that_of_the_distances():
    output = outcome(DistanceUNet(make_unet()), make_batch(2, 0))
    assert set(output) == {"loss", "consistency_weight", "supervised", "distance"}
    assert output["loss"] == pytest.approx(float(output["supervised"] + 0.3 * output["distance"]))


def test_an_image_without_the_class_is_compared_with_the_distance_that_is_asked_for():
    network = Table([[0.5, 0.5]] * 2, [[0.4], [0.4]])
    for empty_distance, expected in ((1.0, 0.36), (0.0, 0.16)):
        output = outcome(network, batch_of([0.0, 0.0]), empty_distance=empty_distance, learning_rate=0.0)
        assert output["distance"].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("distance_weight", -1.0),
        ("steepness", 0.0),
        ("empty_distance", 1.5),
        ("steepness", math.nan),
    ],
)
def test_bad_values_are_refused_in_one_line(option, value, message_of):
    with pytest.raises(InputError, match=f"{option} {value}: give") as error:
        outcome(DistanceUNet(make_unet()), make_batch(), **{option: value})
    message_of(error)
