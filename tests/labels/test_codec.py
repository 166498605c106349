from __future__ import annotations

import pytest
import torch

from custom.errors import InputError
from custom.labels import LabelCodec

CLASSES = [2, 3, 4, 5]


def every_class(num_classes):
    """Labels [1, 1, 1, K] with each class once."""
    return torch.arange(num_classes, dtype=torch.float32).view(1, 1, 1, -1)


def test_binary_labels_become_black_and_white():
    images = LabelCodec(2).encode(every_class(2))
    assert images.shape == (1, 3, 1, 2)
    assert images[0].tolist() == [[[-1.0, 1.0]]] * 3


def test_five_classes_become_equally_spaced_grey_levels():
    assert LabelCodec(5).encode(every_class(5))[0, 0, 0].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_integer_labels_are_accepted():
    assert LabelCodec(3).encode(torch.tensor([[[[0, 1, 2]]]]))[0, 0, 0].tolist() == [-1.0, 0.0, 1.0]


def test_the_papers_divisor_leaves_the_top_of_the_range_unused():
    assert LabelCodec(2, divisor="K").encode(every_class(2))[0, 0, 0].tolist() == [-1.0, 0.0]
    assert LabelCodec(4, divisor="K").encode(every_class(4))[0, 0, 0].tolist() == [-1.0, -0.5, 0.0, 0.5]


def test_the_releases_range_is_zero_to_one():
    assert LabelCodec(3, value_range="unsigned").encode(every_class(3))[0, 0, 0].tolist() == [0.0, 0.5, 1.0]


def test_ignored_pixels_look_like_background():
    labels = torch.tensor([[[[0.0, 255.0, 2.0]]]])
    assert LabelCodec(3).encode(labels)[0, 0, 0].tolist() == [-1.0, -1.0, 1.0]


@pytest.mark.parametrize("divisor", ["K-1", "K"])
@pytest.mark.parametrize("num_classes", CLASSES)
def test_decoding_undoes_encoding(num_classes, divisor):
    codec = LabelCodec(num_classes, divisor=divisor)
    labels = every_class(num_classes)
    decoded = codec.decode(codec.encode(labels))
    torch.testing.assert_close(decoded, labels)
    assert torch.equal(codec.harden(decoded), labels)


def test_decoding_expects_a_signed_image_whatever_the_range():
    codec = LabelCodec(2, value_range="unsigned")
    decoded = codec.decode(codec.encode(every_class(2)))
    assert decoded.flatten().tolist() == [0.5, 1.0]
    assert codec.harden(decoded).flatten().tolist() == [0.0, 1.0]


def test_decoding_takes_the_mean_of_the_channels():
    image = torch.tensor([-0.5, 0.0, 1.1]).view(1, 3, 1, 1)  # mean 0.2 -> (0.2 + 1) / 2 * 2
    assert LabelCodec(3).decode(image).item() == pytest.approx(1.2)


@pytest.mark.parametrize(("divisor", "top"), [("K-1", 2.0), ("K", 2.0)])
def test_decoded_values_stay_within_the_classes(divisor, top):
    image = torch.tensor([-7.0, 7.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert LabelCodec(3, divisor=divisor).decode(image).flatten().tolist() == [0.0, top]


def test_outside_the_range_the_gradient_is_zero():
    image = torch.tensor([-1.5, 0.0, 1.5]).view(1, 1, 1, 3).repeat(1, 3, 1, 1).requires_grad_()
    LabelCodec(2).decode(image).sum().backward()
    torch.testing.assert_close(image.grad[0, 0, 0], torch.tensor([0.0, 1 / 6, 0.0]))


def test_binary_memberships_are_p_and_its_complement():
    p = torch.linspace(0, 1, 11).view(1, 1, 1, -1)
    assert torch.equal(LabelCodec(2).memberships(p), torch.cat([1 - p, p], dim=1))


@pytest.mark.parametrize("num_classes", CLASSES)
def test_memberships_sum_to_one(num_classes):
    soft = torch.linspace(0, num_classes - 1, 41).view(1, 1, 1, -1)
    memberships = LabelCodec(num_classes).memberships(soft)
    assert memberships.shape == (1, num_classes, 1, 41)
    assert memberships.min() >= 0
    torch.testing.assert_close(memberships.sum(dim=1, keepdim=True), torch.ones_like(soft))


def test_memberships_are_shared_by_the_two_nearest_classes():
    memberships = LabelCodec(4).memberships(torch.tensor([1.25, 3.0]).view(1, 1, 1, 2))
    assert memberships[0, :, 0].T.tolist() == [[0.0, 0.75, 0.25, 0.0], [0.0, 0.0, 0.0, 1.0]]


def test_hard_labels_are_the_nearest_class_and_the_lower_one_exactly_between():
    soft = torch.tensor([0.0, 0.5, 0.5001, 1.0, 1.5, 1.5001, 2.4999, 2.5, 3.0])
    assert LabelCodec.harden(soft).tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_hard_labels_keep_shape_and_type():
    hard = LabelCodec.harden(torch.full((2, 1, 3, 3), 0.7, dtype=torch.float64))
    assert hard.shape == (2, 1, 3, 3)
    assert hard.dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_classes": 1}, "num_classes is 1"),
        ({"divisor": "K+1"}, "'K\\+1': choose 'K-1' or 'K'"),
        ({"value_range": "both"}, "'both': choose 'signed' or 'unsigned'"),
    ],
)
def test_an_unknown_choice_is_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        LabelCodec(**arguments)
