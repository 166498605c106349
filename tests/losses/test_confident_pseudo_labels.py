from __future__ import annotations

import pytest
import torch

from custom.losses import confident_pseudo_labels


def logits_of(*pixels):
    """Logits [1, K, 1, W] whose softmax in pixel i is pixels[i]."""
    return torch.tensor(pixels).T[None, :, None].log() + 3.0


def test_the_most_probable_class_is_kept_where_it_is_confident_and_background_elsewhere():
    # n of the largest: 1 - 1/9 = 0.889, 1 - 1/4 = 0.75, 0.889, 0.75
    logits = logits_of((0.1, 0.9), (0.2, 0.8), (0.9, 0.1), (0.8, 0.2))
    assert confident_pseudo_labels(logits).tolist() == [[[[1.0, 0.0, 0.0, 0.0]]]]


def test_with_two_classes_the_default_asks_for_a_probability_above_five_sixths():
    logits = logits_of((0.167, 0.833), (0.166, 0.834))
    assert confident_pseudo_labels(logits).flatten().tolist() == [0.0, 1.0]


def test_with_three_classes_the_largest_is_compared_with_the_smallest():
    # 1 - 0.05/0.5 = 0.9 although the second is close; 1 - 0.1/0.6 = 0.833; 1 - 0.2/0.6 = 0.667
    logits = logits_of((0.05, 0.45, 0.5), (0.3, 0.6, 0.1), (0.2, 0.2, 0.6))
    assert confident_pseudo_labels(logits).flatten().tolist() == [2.0, 1.0, 0.0]


@pytest.mark.parametrize("threshold, expected", [(0.7, 1.0), (0.8, 0.0)])
def test_the_threshold_is_that_of_the_normalised_probability(threshold, expected):
    assert confident_pseudo_labels(logits_of((0.2, 0.8)), threshold).item() == expected  # 1 - 1/4 = 0.75


def test_equal_probabilities_are_background():
    assert confident_pseudo_labels(torch.zeros(1, 3, 1, 1)).item() == 0.0


def test_labels_are_float_indices_of_one_channel_without_gradient():
    labels = confident_pseudo_labels(torch.randn(2, 4, 3, 5, requires_grad=True))
    assert labels.shape == (2, 1, 3, 5)
    assert labels.dtype == torch.float32
    assert not labels.requires_grad
