from __future__ import annotations

import numpy as np
import pytest

from custom.monai_label.ranking import rank


def ranked(disagreement, features, seen=()):
    """Order and weights of images whose features are one number each."""
    features, seen = np.array(features, float)[:, None], np.array(seen, float)[:, None]
    order, weights = zip(*rank(np.array(disagreement, float), features, seen), strict=True)
    return list(order), pytest.approx(list(weights))


def test_weights_are_disagreement_times_novelty():
    # Distances to the nearest fellow are 1, 0.5, 0.5, 2.5: a distance of their median 0.75 is wholly new.
    # The first image is half new at the start; after the second is taken, the third is 0.5 / 0.75 new.
    order, weights = ranked([0.8, 0.6, 0.5, 0.3], [0, 1, 1.5, 4], seen=[-0.375])
    assert order == [1, 0, 2, 3]
    assert weights == [0.6, 0.8 * 0.5, 0.5 * 2 / 3, 0.3]


def test_images_unlike_each_other_go_by_their_disagreement():
    assert ranked([0.2, 0.9, 0.0, 0.4], [0, 1, 2, 3], seen=[10]) == ([1, 3, 0, 2], [0.9, 0.4, 0.2, 0])


def test_with_equal_disagreement_the_newer_comes_first():
    # nearest fellows 4, 4, 6; novelty to begin with 1/4, 3/4, 1
    assert ranked([0.4, 0.4, 0.4], [0, 4, 10], seen=[1]) == ([2, 1, 0], [0.4, 0.3, 0.1])


def test_a_near_copy_of_a_seen_image_comes_last():
    assert ranked([0.1, 0.2, 0.9], [0, 5, 10], seen=[10]) == ([1, 0, 2], [0.2, 0.1, 0])


def test_near_copies_do_not_come_in_a_row():
    assert ranked([0.9, 0.8, 0.2, 0.1], [0, 0, 5, 10]) == ([0, 2, 3, 1], [0.9, 0.2, 0.1, 0])


def test_near_copies_do_not_come_in_a_row_even_if_every_image_has_one():
    order, weights = ranked([0.9, 0.8, 0.2, 0.1], [0, 0, 10, 10])
    assert sorted(order[:2]) == [0, 2]
    assert weights == [0.9, 0.2, 0, 0]


def test_units_of_the_features_do_not_count():
    generator = np.random.default_rng(0)
    disagreement, features, seen = generator.random(6), generator.random((6, 3)), generator.random((2, 3))
    units = np.array([1, 1000, 0.01])
    expected = rank(disagreement, features, seen)
    found = rank(disagreement, features * units, seen * units)
    assert [index for index, _ in found] == [index for index, _ in expected]
    np.testing.assert_allclose(found, expected)


def test_without_seen_images_the_largest_disagreement_is_first():
    found = rank(np.array([0.3, 0.7]), np.array([[0.0, 1.0], [2.0, 0.0]]), np.array([]))
    assert found == [(1, 0.7), (0, 0.3)]


@pytest.mark.parametrize(("seen", "weight"), [([], 0.5), ([4], 0.5), ([0], 0.0)])
def test_one_candidate_is_ranked(seen, weight):
    assert ranked([0.5], [0], seen) == ([0], [weight])


def test_a_feature_that_is_the_same_for_all_changes_nothing():
    features = np.array([[0, 7], [1, 7], [1.5, 7], [4, 7]], float)
    found = rank(np.array([0.8, 0.6, 0.5, 0.3]), features, np.array([[-0.375, 7]]))
    assert [index for index, _ in found] == [1, 0, 2, 3]


def test_images_that_look_all_the_same_go_by_their_disagreement():
    order, weights = ranked([0.2, 0.6, 0.4], [3, 3, 3])
    assert order == [1, 2, 0]  # of equal weight, by disagreement
    assert weights == [0.6, 0, 0]
