from __future__ import annotations

import pytest
import torch

from custom.methods.trainer import Batch

CPU = torch.device("cpu")


def parts(labelled, unlabelled, *extra):
    """Images of ones that are labelled and of twos that are not; `extra` keys hold tens of them."""
    batch = {"labelled": {"image": torch.ones(labelled, 3, 4, 4), "label": torch.full((labelled, 1, 4, 4), 7.0)}}
    if unlabelled:
        batch["unlabelled"] = {"image": torch.full((unlabelled, 3, 4, 4), 2.0)}
    for part in batch.values():
        part |= {key: 10 * part["image"] for key in extra}
    return batch


def test_labelled_images_come_first():
    batch = Batch.read(parts(2, 3), CPU)
    assert batch.images[:, 0, 0, 0].tolist() == [1, 1, 2, 2, 2]
    assert batch.labels.shape == (2, 1, 4, 4)
    assert batch.labels.eq(7).all()
    assert (batch.labelled, batch.unlabelled) == (2, 3)


def test_the_unlabelled_part_may_be_missing():
    batch = Batch.read(parts(2, 0), CPU)
    assert len(batch.images) == len(batch.labels) == 2
    assert batch.unlabelled == 0


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_order_of_the_images(channels_last):
    batch = Batch.read(parts(2, 2, "strong_image"), CPU, channels_last)
    for images in (batch.images, *batch.strong_views):
        assert images.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_keys_that_begin_with_strong_are_the_strong_views_in_their_order():
    batch = Batch.read(parts(1, 1, "strong_image", "strong_image_2"), CPU)
    assert [view[:, 0, 0, 0].tolist() for view in batch.strong_views] == [[10, 20], [10, 20]]
    assert not batch.extra


def test_strong_views_of_the_unlabelled_rows_are_found_with_and_without_those_of_labelled_ones():
    batch = parts(2, 3, "strong_image")
    with_all = Batch.read(batch, CPU)
    del batch["labelled"]["strong_image"]
    without = Batch.read(batch, CPU)
    for each in (with_all, without):
        assert [view[:, 0, 0, 0].tolist() for view in each.unlabelled_strong_views] == [[20, 20, 20]]


def test_other_keys_are_kept_by_name_and_may_belong_to_the_labelled_rows_alone():
    batch = parts(1, 1, "depth")
    batch["labelled"]["distance"] = torch.zeros(1, 1, 4, 4)
    extra = Batch.read(batch, CPU).extra
    assert extra["depth"].shape == (2, 3, 4, 4)
    assert extra["distance"].shape == (1, 1, 4, 4)
