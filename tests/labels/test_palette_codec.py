from __future__ import annotations

import copy
import math

import pytest
import torch

from custom.errors import InputError
from custom.labels import IGNORED_LABEL, MOST_CLASSES, LabelCodec, PaletteCodec, make_label_codec, most_likely

CLASSES = [3, 4, 5, 6, 7, 8, 9, 30, MOST_CLASSES]


def every_class(num_classes):
    """Labels [1, 1, 1, K] with each class once."""
    return torch.arange(num_classes, dtype=torch.float32).view(1, 1, 1, -1)


def blends(codec, one, other, count=101):
    """The colours on the way from one class to another, [1, 3, 1, count]."""
    t = torch.linspace(0, 1, count)[:, None]
    return ((1 - t) * codec.palette[one] + t * codec.palette[other]).T[None, :, None]


def image(colour):
    """One pixel, [1, 3, 1, 1]."""
    return torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1)


@pytest.mark.parametrize("num_classes", CLASSES)
def test_every_class_comes_back_with_a_membership_of_0_98_or_more(num_classes):
    codec, labels = PaletteCodec(num_classes), every_class(num_classes)
    images = codec.encode(labels)
    memberships = codec.decode(images)
    assert images.shape == (1, 3, 1, num_classes)
    assert images.abs().max() <= 1
    assert torch.equal(most_likely(memberships), labels)
    assert memberships[0, :, 0].diagonal().min() > 0.98
    torch.testing.assert_close(memberships.sum(dim=1), torch.ones(1, 1, num_classes))


def test_three_classes_by_hand():
    """Colours (-1, -1, -1), (-1, 1, 1) and (1, -1, 1): squared distance 8, so that T = 8 / 6."""
    codec = PaletteCodec(3)
    assert codec.temperature == pytest.approx(4 / 3)
    memberships = codec.decode(image([-1, 0, 0.5])).flatten()
    powers = [math.exp(-distance / (4 / 3)) for distance in (1 + 1.5**2, 1 + 0.5**2, 4 + 1 + 0.5**2)]
    assert memberships.tolist() == pytest.approx([power / sum(powers) for power in powers])


def test_outside_the_cube_the_nearest_colour_counts():
    codec = PaletteCodec(4)
    assert torch.equal(most_likely(codec.decode(3 * codec.encode(every_class(4)))), every_class(4))


def test_ignored_pixels_look_like_background():
    labels = torch.tensor([[[[0.0, IGNORED_LABEL, 2.0]]]])
    assert torch.equal(PaletteCodec(3).encode(labels), PaletteCodec(3).encode(torch.tensor([[[[0, 0, 2]]]])))


@pytest.mark.parametrize("num_classes", [3, 4])
def test_between_two_classes_there_is_no_third(num_classes):
    codec = PaletteCodec(num_classes)
    for one in range(num_classes):
        for other in range(one):
            memberships = codec.decode(blends(codec, one, other))
            assert set(most_likely(memberships).unique().tolist()) == {one, other}
            halfway = memberships[0, :, 0, 50]
            assert halfway[one].item() == pytest.approx(halfway[other].item(), abs=1e-5)
            assert halfway[one] > 0.45


def test_between_background_and_class_2_grey_levels_have_a_third():
    codec = LabelCodec(3)
    edge = codec.encode(torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 1, 3))[..., [0, 2]].mean(dim=-1, keepdim=True)
    assert codec.harden(codec.decode(edge)).item() == 1


@pytest.mark.parametrize("num_classes", [3, 4, 8])
def test_a_gradient_reaches_every_channel_of_the_image_inside_and_outside_the_cube(num_classes):
    codec = PaletteCodec(num_classes)
    images = torch.tensor([-1.2, -0.4, 0.1, 0.7, 1.1]).view(1, 1, 1, 5) + torch.tensor([0.0, 0.3, -0.2]).view(
        1, 3, 1, 1
    )
    images.requires_grad_()
    codec.decode(images)[:, 1].sum().backward()
    assert images.grad.ne(0).all()


def test_memberships_are_in_single_precision_under_autocast():
    codec, images = PaletteCodec(4), torch.randn(1, 3, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = codec.decode(images)
    assert torch.equal(rounded, codec.decode(images))


def test_the_palette_moves_with_the_codec_and_is_in_no_state():
    codec = copy.deepcopy(PaletteCodec(4)).double()
    assert codec.palette.dtype == torch.float64
    assert not codec.state_dict() and not list(codec.parameters())


def test_two_classes_have_the_codec_of_the_grey_levels():
    """Bit for bit the binary path: labels, images and soft labels."""
    codec, binary = make_label_codec("palette", 2), LabelCodec(2)
    labels, decoded = torch.randint(2, (2, 1, 8, 8)).float(), torch.randn(2, 3, 8, 8)
    assert type(codec) is LabelCodec
    assert torch.equal(codec.encode(labels), binary.encode(labels))
    assert torch.equal(codec.decode(decoded), binary.decode(decoded))


def test_black_and_white_are_the_colours_of_two_classes():
    assert torch.equal(PaletteCodec(2).encode(every_class(2)), LabelCodec(2).encode(every_class(2)))
    assert torch.equal(most_likely(PaletteCodec(2).decode(LabelCodec(2).encode(every_class(2)))), every_class(2))


def test_soft_labels_stay_as_they_are():
    soft = torch.rand(2, 1, 3, 3)
    assert most_likely(soft) is soft


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"label_code": "colour"}, "label_code 'colour': choose 'ordinal' or 'palette'"),
        ({"label_code": "palette", "num_classes": 1}, "num_classes is 1"),
        ({"label_code": "palette", "num_classes": 3, "divisor": "K"}, "label_divisor 'K-1' and label_range 'signed'"),
        ({"label_code": "palette", "value_range": "unsigned"}, "label_divisor 'K-1' and label_range 'signed'"),
    ],
)
def test_an_unknown_or_contradictory_choice_is_refused(arguments, words, message_of):
    with pytest.raises(InputError, match=words) as error:
        make_label_codec(**arguments)
    message_of(error)


def test_fewer_than_two_colours_are_refused():
    with pytest.raises(InputError, match="num_classes is 1"):
        PaletteCodec(1)
