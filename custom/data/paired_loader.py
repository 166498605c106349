"""Batches which pair labelled with unlabelled images, drawn so that only the seed and the epoch decide them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import ignite.distributed as idist
import torch
from monai.data import DataLoader, Dataset, list_data_collate
from monai.utils import convert_to_tensor
from torch import Tensor

from custom.data.seeded_samples import SeededSamples, mixed_seed
from custom.errors import InputError

__all__ = ["PairedLoader"]

logger = logging.getLogger(__name__)


class PairedLoader:
    """Pairs a batch of labelled with one of unlabelled images; the data of an Ignite engine.

    A batch is `{"labelled": {"image", "label"}, "unlabelled": {"image"}}`, each a plain tensor with the batch in
    front; without unlabelled images (or with an unlabelled batch size of 0) the key "unlabelled" is absent.

    An epoch goes once through the labelled images in random order, and drops an incomplete last batch. The unlabelled
    images come in one random order after another, started anew with every epoch, until the labelled ones are used up:
    the order of the SemiGDA release, which has it from SSL4MIS' `TwoStreamBatchSampler`.

    The order of an epoch depends on `seed` and the epoch alone. The random transforms of a sample depend on its place
    in the epoch as well. `num_workers` changes nothing. So a run resumed at an epoch sees the batches of an
    uninterrupted one, if `set_epoch` is called before each epoch. Nothing is drawn before the first batch is asked for,
    since Ignite takes the iterator before it announces the epoch.

    Under several processes each makes a loader with its rank, and the sizes are those of one process: the global batch
    is `world_size` times as large. It is the batch that a single process with sizes so large would get, with its random
    transforms. The processes take its images in turn, so no image goes to two of them. Where there are fewer images
    than processes, an image does go to several of them at once, changed differently, and a warning is logged.

    Args:
        labelled: data whose items have "image" and "label".
        unlabelled: data whose items have "image"; None or empty trains on labels only.
        labelled_batch_size: labelled images per batch of one process; fewer if there are fewer.
        unlabelled_batch_size: unlabelled images per batch of one process; fewer if there are fewer.
        seed: non-negative number.
        num_workers: processes which load each of the two streams; 0 loads in the calling process.
        pin_memory: put batches into memory from which copying to a GPU is fast.
        rank: number of this process, from 0; None for what `ignite.distributed` knows.
        world_size: number of processes; None likewise.
        image_keys: keys of the items that batches keep besides "label"; a method may want several views of each image.
        unlabelled_keys: further keys that batches keep of unlabelled items alone, such as a teacher's predictions.

    Attributes:
        labelled_batch_size, unlabelled_batch_size: the sizes in use.

    Raises:
        InputError: no labelled image, or a batch size out of range.
    """

    def __init__(
        self,
        labelled: Dataset,
        unlabelled: Dataset | None,
        labelled_batch_size: int,
        unlabelled_batch_size: int,
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        image_keys: Sequence[str] = ("image",),
        unlabelled_keys: Sequence[str] = (),
    ) -> None:
        if len(labelled) == 0:
            raise InputError("training needs at least one labelled image; add labels to the datalist")
        if labelled_batch_size < 1 or unlabelled_batch_size < 0:
            raise InputError(
                f"batch sizes are {labelled_batch_size} labelled and {unlabelled_batch_size} unlabelled; "
                "give at least 1 and 0"
            )
        self.labelled = labelled
        self.unlabelled = [] if unlabelled is None else unlabelled
        self.rank = idist.get_rank() if rank is None else rank
        self.world_size = idist.get_world_size() if world_size is None else world_size
        self.labelled_batch_size = self._fitting_size(labelled_batch_size, len(self.labelled))
        self.unlabelled_batch_size = self._fitting_size(unlabelled_batch_size, len(self.unlabelled))
        self.seed = seed
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.image_keys = tuple(image_keys)
        self.unlabelled_keys = tuple(unlabelled_keys)
        self.epoch = 0
        if self.rank == 0:
            self._warn_of_few_images(labelled_batch_size, unlabelled_batch_size)

    def _fitting_size(self, batch_size: int, images: int) -> int:
        """Images per batch of one process: as asked for, or as many as there are for each process, but at least one."""
        return min(batch_size, max(images // self.world_size, 1)) if images else 0

    def _warn_of_few_images(self, labelled_batch_size: int, unlabelled_batch_size: int) -> None:
        has_unlabelled = len(self.unlabelled) > 0
        if self.labelled_batch_size < labelled_batch_size or (
            has_unlabelled and self.unlabelled_batch_size < unlabelled_batch_size
        ):
            logger.warning(
                "Too few images for batches of %d labelled and %d unlabelled: using %d and %d",
                labelled_batch_size,
                unlabelled_batch_size,
                self.labelled_batch_size,
                self.unlabelled_batch_size,
            )
        for kind, images, used in (
            ("labelled", len(self.labelled), True),
            ("unlabelled", len(self.unlabelled), self.unlabelled_batch_size > 0),
        ):
            if used and images < self.world_size:
                logger.warning(
                    "Fewer %s images (%d) than processes (%d): some processes take the same image at once",
                    kind,
                    images,
                    self.world_size,
                )

    def __len__(self) -> int:
        """Batches per epoch, the same in every process."""
        return max(len(self.labelled) // (self.world_size * self.labelled_batch_size), 1)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (0 or more) whose batches iterating yields, from the next first batch on."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, dict[str, Tensor]]]:
        images = self.image_keys
        loaders = {"labelled": self._loader(self.labelled, self.labelled_batch_size, (*images, "label"), stream=0)}
        if self.unlabelled_batch_size > 0:
            keys = (*images, *self.unlabelled_keys)
            loaders["unlabelled"] = self._loader(self.unlabelled, self.unlabelled_batch_size, keys, stream=1)
        for batches in zip(*loaders.values(), strict=True):
            yield dict(zip(loaders, batches, strict=True))

    def _loader(self, dataset: Dataset, batch_size: int, keys: Sequence[str], stream: int) -> DataLoader:
        """The loader of one epoch and stream."""
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, self.epoch, stream))
        batches = _random_batches(len(dataset), self.world_size * batch_size, len(self), generator)
        return DataLoader(
            SeededSamples(dataset, (self.seed, self.epoch, stream)),
            num_workers=self.num_workers,
            batch_sampler=[batch[self.rank :: self.world_size] for batch in batches],
            collate_fn=partial(_collate, keys=keys),
            generator=generator,
            pin_memory=self.pin_memory,
        )


def _random_batches(size: int, batch_size: int, count: int, generator: torch.Generator) -> list[list[tuple[int, int]]]:
    """`count` batches of (index below `size`, place in the epoch), cut from one random order after another."""
    orders = -(-count * batch_size // size)
    indices = [index for _ in range(orders) for index in torch.randperm(size, generator=generator).tolist()]
    places = list(zip(indices, range(count * batch_size), strict=False))
    return [places[batch * batch_size : (batch + 1) * batch_size] for batch in range(count)]


def _collate(items: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[str, Tensor]:
    """Batch `keys` of `items`, without the metadata: it is of no use in training and slow to pass on."""
    return list_data_collate([{key: convert_to_tensor(item[key], track_meta=False) for key in keys} for item in items])
