from __future__ import annotations

import ignite.distributed as idist
import pytest
from monai.data import DataLoader, Dataset

from custom.data import evaluation_sampler
from tests.two_processes import in_two_processes


def seen(images):
    """What each of two processes loads of so many images."""
    dataset = Dataset(list(range(images)))
    return [batch.item() for batch in DataLoader(dataset, sampler=evaluation_sampler(dataset))]


@pytest.mark.parametrize(
    ("images", "shares"), [(5, [[0, 2, 4], [1, 3]]), (2, [[0], [1]]), (1, [[0], [0]])], ids=["more", "as many", "fewer"]
)
def test_images_are_dealt_out_unless_there_are_too_few(images, shares, tmp_path):
    assert in_two_processes(lambda: seen(images), tmp_path) == shares


def test_a_single_process_needs_no_sampler():
    assert idist.get_world_size() == 1
    assert evaluation_sampler(Dataset([1, 2, 3])) is None
