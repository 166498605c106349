from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries

from custom.labels import IGNORED_LABEL, signed_distances
from tests.methods.conftest import discs


def row(*values):
    """One image of one row, [1, 1, 1, len(values)]."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def released(mask):
    """The map of one mask with both an inside and an outside, as the release defines it."""
    outside, inside = distance_transform_edt(~mask), distance_transform_edt(mask)
    signed = outside / outside.max() - inside / inside.max()
    signed[find_boundaries(mask, mode="inner")] = 0
    return signed


def test_a_disc_has_the_released_map_negative_inside_and_zero_on_its_inner_outline():
    _, labels = discs(3)
    found = signed_distances(labels, num_classes=2)
    assert found.shape == (3, 1, 32, 32)
    assert found.dtype == torch.float32
    for signed, label in zip(found[:, 0], labels[:, 0], strict=True):
        np.testing.assert_allclose(signed, released(label.numpy() > 0), atol=1e-6)
        assert (signed.min(), signed.max()) == (-1, 1)
        assert ((signed < 0) <= (label > 0)).all()


def test_every_foreground_class_has_a_map_of_its_own():
    _, labels = discs(1, num_classes=4)
    found = signed_distances(labels, num_classes=4)
    for index in (1, 2, 3):
        np.testing.assert_allclose(found[0, index - 1], released(labels[0, 0].numpy() == index), atol=1e-6)


@pytest.mark.parametrize("empty_distance", [1.0, 0.0])
def test_an_image_without_a_class_or_full_of_it_has_one_distance_everywhere(empty_distance):
    labels = torch.cat([row(0, 0, 0), row(2, 2, 2)])
    found = signed_distances(labels, num_classes=3, empty_distance=empty_distance)
    assert (found[0] == empty_distance).all()
    assert (found[1, 0] == empty_distance).all()  # none of class 1
    assert (found[1, 1] == -empty_distance).all()  # class 2 alone


def test_undecided_pixels_are_no_outline():
    # The nearest pixel of the other side is behind the undecided one: 2 and 3 pixels away to the right, 2 to the left.
    found = signed_distances(row(0, IGNORED_LABEL, 1, 1), num_classes=2)
    assert found.flatten().tolist() == pytest.approx([1, 0, -2 / 3, -1])


def test_undecided_pixels_alone_have_zeros():
    assert not signed_distances(row(IGNORED_LABEL, IGNORED_LABEL), num_classes=2).any()
