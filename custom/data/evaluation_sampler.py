"""Validation and test images under several processes."""

from __future__ import annotations

import ignite.distributed as idist
from monai.data import Dataset, DistributedSampler

__all__ = ["evaluation_sampler"]


def evaluation_sampler(dataset: Dataset) -> DistributedSampler | None:
    """Gives each image to one of the processes, in turn; None for a single process.

    MONAI's and Ignite's metrics and our report gather what the processes found, so all of them see the same figures and
    choose the same best weights. Ignite refuses a process without images: where there are fewer images than processes
    every process takes all of them (None), which leaves means as they are.
    """
    if not 1 < idist.get_world_size() <= len(dataset):
        return None
    return DistributedSampler(dataset, even_divisible=False, shuffle=False)
