from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from monai.engines.utils import IterationEvents

from custom.engines.batches import fire_iteration_events, stack_images
from custom.errors import InputError

CPU = torch.device("cpu")


def batch(labelled, unlabelled):
    """Images of ones that are labelled and of twos that are not."""
    parts = {"labelled": {"image": torch.ones(labelled, 3, 4, 4), "label": torch.full((labelled, 1, 4, 4), 7.0)}}
    if unlabelled:
        parts["unlabelled"] = {"image": torch.full((unlabelled, 3, 4, 4), 2.0)}
    return parts


class FakeEngine:
    def __init__(self):
        self.state = SimpleNamespace(iteration=12, output=None)
        self.fired = []

    def fire_event(self, event):
        self.fired.append((event, self.state.output))


def test_labelled_images_come_first():
    images, labels = stack_images(batch(2, 3), CPU)
    assert images[:, 0, 0, 0].tolist() == [1, 1, 2, 2, 2]
    assert labels.shape == (2, 1, 4, 4)
    assert labels.eq(7).all()


def test_the_unlabelled_part_may_be_missing():
    images, labels = stack_images(batch(2, 0), CPU)
    assert len(images) == len(labels) == 2


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_order_of_the_images(channels_last):
    images, _ = stack_images(batch(2, 2), CPU, channels_last)
    assert images.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_an_iteration_ends_with_its_loss_and_detached_terms_in_the_output():
    engine, term = FakeEngine(), torch.tensor(3.0, requires_grad=True)
    output = fire_iteration_events(engine, term * 2, {"term": term}, weight=0.25)
    assert {name: float(value) for name, value in output.items()} == {"loss": 6, "consistency_weight": 0.25, "term": 3}
    assert not output["term"].requires_grad
    assert engine.fired == [(IterationEvents.MODEL_COMPLETED, output)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_names_iteration_and_mend(value):
    with pytest.raises(InputError, match=f"the loss became {value} at iteration 12: lower the learning rate"):
        fire_iteration_events(FakeEngine(), torch.tensor(value), {}, 0.0)
