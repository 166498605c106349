"""Validation and test images."""

from __future__ import annotations

import ignite.distributed as idist
from monai.data import DataLoader, Dataset, DistributedSampler

__all__ = ["EvaluationLoader", "evaluation_sampler"]


class EvaluationLoader(DataLoader):
    """Images one by one, in order; under several processes each goes to one of them, see `evaluation_sampler`.

    Args:
        dataset: the data.
        num_workers: processes that load images; 0 loads in the calling process.
    """

    def __init__(self, dataset: Dataset, num_workers: int = 0) -> None:
        super().__init__(
            dataset, num_workers=num_workers, batch_size=1, shuffle=False, sampler=evaluation_sampler(dataset)
        )


def evaluation_sampler(dataset: Dataset) -> DistributedSampler | None:
    """Gives each image to one of the processes, in turn; None for a single process.

    MONAI's and Ignite's metrics and our report gather what the processes found, so all of them see the same figures and
    choose the same best weights. Ignite refuses a process without images: where there are fewer images than processes
    every process takes all of them (None), which leaves means as they are.
    """
    if not 1 < idist.get_world_size() <= len(dataset):
        return None
    return DistributedSampler(dataset, even_divisible=False, shuffle=False)
