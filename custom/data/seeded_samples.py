"""Samples whose random transforms depend on their place in the epoch, not on the process that loads them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data import Dataset
from monai.data.utils import set_rnd
from monai.transforms import Randomizable

__all__ = ["SeededSamples", "mixed_seed"]


class SeededSamples(torch.utils.data.Dataset):
    """The samples of a data set, each loaded with random numbers of its own.

    MONAI seeds the transforms of each worker once, so what a sample gets depends on what its worker loaded before.
    Here everything random is seeded for each sample: MONAI's transforms, and the generators of Python, NumPy and
    PyTorch's CPU, which are put back afterwards.

    Args:
        dataset: the data.
        seed: numbers that every sample shares, such as those of the run, the epoch and the stream.
    """

    def __init__(self, dataset: Dataset, seed: Sequence[int]) -> None:
        self.dataset = dataset
        self.seed = tuple(seed)

    def __len__(self) -> int:
        """Number of different samples."""
        return len(self.dataset)

    def __getitem__(self, index_and_place: tuple[int, int]) -> Any:
        """The sample with an index in the data, changed by the random numbers of its place in the epoch."""
        index, place = index_and_place
        seed = mixed_seed(*self.seed, place)
        with _global_generators(seed):
            _seed_transforms(self.dataset, seed)
            return self.dataset[index]


def mixed_seed(*numbers: int) -> int:
    """One seed from several: unlike their sum, it does not make epoch 1 of seed 0 equal to epoch 0 of seed 1."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _seed_transforms(dataset: Dataset, seed: int) -> None:
    if isinstance(dataset, Randomizable):
        set_rnd(dataset, seed)
        return
    set_rnd([getattr(dataset, "transform", None)], seed)  # not its data, or a cache of them: long, and nothing random


@contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    """Seed the generators that the whole process shares, and put them back."""
    shared = Randomizable.R  # of transforms that nothing seeds
    states = random.getstate(), np.random.get_state(), shared.get_state(), torch.get_rng_state()
    seeds = np.random.SeedSequence(seed).generate_state(4)  # equal ones would give equal numbers
    random.seed(int(seeds[0]))
    np.random.seed(seeds[1])
    shared.seed(seeds[2])
    torch.default_generator.manual_seed(int(seeds[3]))  # unlike torch.manual_seed, it leaves the GPU alone
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        shared.set_state(states[2])
        torch.set_rng_state(states[3])
