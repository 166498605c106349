from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, MapTransform, RandGaussianNoised, Randomizable, RandomOrder

from custom.data.seeded_samples import SeededSamples


class DrawFromEverywhered(Randomizable, MapTransform):
    """Replaces a value by draws from its own generator and from those that the process shares."""

    def __call__(self, data):
        draws = [self.R.rand(), random.random(), np.random.rand(), torch.rand(()).item(), Randomizable.R.rand()]
        return {key: torch.tensor(draws, dtype=torch.float64) for key in data}


class Plaind(MapTransform):
    """A transform that MONAI does not know to be random."""

    def __call__(self, data):
        return {key: value + torch.rand(()).item() for key, value in data.items()}


def samples(*transforms, seed=(0,)):
    return SeededSamples(Dataset([{"image": index} for index in range(6)], Compose(transforms)), seed)


def test_all_draws_of_a_sample_follow_from_its_place():
    one, other = samples(DrawFromEverywhered("image")), samples(DrawFromEverywhered("image"))
    expected = [one[0, place]["image"].tolist() for place in range(4)]
    assert [other[0, place]["image"].tolist() for place in (3, 1, 2, 0)] == [expected[i] for i in (3, 1, 2, 0)]
    assert len({draw for draws in expected for draw in draws}) == 20


def test_nested_transforms_are_seeded_too():
    def nested():
        noise = RandGaussianNoised("image", prob=0.5)
        return samples(DrawFromEverywhered("image"), RandomOrder([noise, Plaind("image")]))

    one, other = nested(), nested()
    one[2, 0]  # what was loaded before does not matter
    assert torch.equal(one[0, 5]["image"], other[0, 5]["image"])


@pytest.mark.parametrize("seed", [(1,), (0, 1), (1, 0)])
def test_seeds_differ(seed):
    one, other = samples(DrawFromEverywhered("image")), samples(DrawFromEverywhered("image"), seed=seed)
    assert not set(one[0, 0]["image"].tolist()) & set(other[0, 0]["image"].tolist())


def test_the_generators_of_the_process_continue_as_if_nothing_had_been_loaded():
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item(), Randomizable.R.rand()

    def seed():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        Randomizable.R.seed(1)

    seed()
    expected = [draw(), draw()]
    seed()
    first = draw()
    samples(DrawFromEverywhered("image"))[0, 0]
    assert [first, draw()] == expected


def test_the_processes_of_a_loader_change_nothing():
    places = [[(index, place) for place, index in enumerate(range(6))]]
    loaded = [
        next(iter(DataLoader(samples(DrawFromEverywhered("image")), batch_sampler=places, num_workers=workers)))
        for workers in (0, 2)
    ]
    assert torch.equal(loaded[0]["image"], loaded[1]["image"])
