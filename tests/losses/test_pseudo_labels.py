from __future__ import annotations

import torch

from custom.losses import PseudoLabels


def image(*rows):
    """One image, [1, 1, H, W]."""
    return torch.tensor(rows, dtype=torch.float32)[None, None]


def rows(labels):
    return labels[0, 0].tolist()


def test_foreground_starts_at_a_probability_of_0_93303():
    labels = PseudoLabels(largest_component=False)(image([0.0, 0.5, 0.93303, 0.93304, 1.0]))
    assert rows(labels) == [[0, 0, 0, 1, 1]]


def test_foreground_is_where_the_tenth_power_reaches_one_half():
    soft = torch.rand(2, 1, 32, 32)
    assert torch.equal(PseudoLabels(largest_component=False)(soft), (soft**10 >= 0.5).float())


def test_temperature_one_is_a_threshold_of_one_half():
    labels = PseudoLabels(temperature=1.0, largest_component=False)(image([0.49, 0.5, 0.51]))
    assert rows(labels) == [[0, 1, 1]]


def test_only_the_largest_component_is_kept():
    labels = PseudoLabels()(image([1, 1, 0, 1, 1, 1]))
    assert rows(labels) == [[0, 0, 0, 1, 1, 1]]


def test_pixels_that_touch_at_a_corner_are_one_component():
    labels = PseudoLabels()(
        image(
            [1, 0, 0, 0, 1],
            [0, 1, 0, 0, 1],
            [0, 0, 1, 0, 0],
        )
    )
    assert rows(labels) == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]]


def test_the_first_of_two_equal_components_is_kept():
    labels = PseudoLabels()(image([0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 0, 1, 1]))
    assert rows(labels) == [[0, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


def test_an_image_without_sure_pixels_stays_empty():
    assert PseudoLabels()(torch.full((2, 1, 4, 4), 0.9)).sum() == 0


def test_every_image_of_a_batch_keeps_its_own_component():
    labels = PseudoLabels()(torch.cat([image([1, 1, 1, 0, 0]), image([0, 0, 0, 0, 1]), image([0, 0, 0, 0, 0])]))
    assert labels.flatten(1).tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]


def test_all_components_stay_without_the_largest_component_rule():
    labels = PseudoLabels(largest_component=False)(image([1, 0, 1, 1, 0, 1]))
    assert rows(labels) == [[1, 0, 1, 1, 0, 1]]


def test_between_two_of_three_classes_is_background():
    labels = PseudoLabels(3, largest_component=False)(image([0.0, 0.9, 0.94, 1.06, 1.1, 1.5, 1.9, 1.94, 2.0]))
    assert rows(labels) == [[0, 0, 1, 1, 0, 0, 0, 2, 2]]


def test_every_one_of_three_classes_keeps_its_largest_component():
    labels = PseudoLabels(3)(image([1, 1, 0, 1, 0, 2, 0, 2, 2, 2]))
    assert rows(labels) == [[1, 1, 0, 0, 0, 0, 0, 2, 2, 2]]


def test_a_class_that_is_missing_leaves_the_others_alone():
    assert rows(PseudoLabels(4)(image([0, 2, 2, 0, 2]))) == [[0, 2, 2, 0, 0]]


def test_result_is_detached_and_keeps_shape_and_dtype():
    soft = torch.ones(2, 1, 3, 5, dtype=torch.float64, requires_grad=True)
    labels = PseudoLabels()(soft)
    assert not labels.requires_grad
    assert (labels.shape, labels.dtype) == (soft.shape, torch.float64)


def test_memberships_are_sharpened_and_cleaned_class_by_class():
    first = [0.95, 0.95, 0.0, 0.94, 0.5, 0.0, 0.0, 0.0]
    second = [0.03, 0.00, 0.0, 0.00, 0.5, 1.0, 0.0, 1.0]
    third = [0.00, 0.00, 0.9, 0.00, 0.0, 0.0, 0.0, 0.0]
    foreground = torch.tensor([first, second, third])
    memberships = torch.cat([1 - foreground.sum(0, keepdim=True), foreground])[None, :, None].requires_grad_()
    assert rows(PseudoLabels(4, largest_component=False)(memberships)) == [[1, 1, 0, 1, 0, 2, 0, 2]]
    labels = PseudoLabels(4)(memberships)
    assert rows(labels) == [[1, 1, 0, 0, 0, 2, 0, 0]]
    assert not labels.requires_grad
