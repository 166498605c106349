from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from custom.networks import MeanTeacher, NetworkPair, TrainingNetworks
from tests.methods.conftest import make_unet

TWO_DECODERS = ("bilinear", "transposed")


class Number(nn.Module):
    """A network of one parameter and one running statistic."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor([float(value)]))
        self.register_buffer("statistic", torch.tensor([10.0 * value]))

    def set(self, value):
        """Give it another parameter, and ten times that as statistic."""
        self.value.data.fill_(value)
        self.statistic.fill_(10.0 * value)


def follow(teacher, values):
    """The teacher's parameter after each of the student's values."""
    seen = []
    for value in values:
        teacher.student.set(value)
        teacher.update_teacher()
        seen.append(teacher.teacher.value.item())
    return seen


KINDS = {
    "alone": TrainingNetworks,
    "mean teacher": MeanTeacher,
    "pair": lambda network: NetworkPair(network, make_unet(num_classes=2, seed=9)),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def make_networks(request):
    return request.param


def test_without_warm_up_the_first_update_copies_and_the_decay_is_constant():
    # 3; then 0.9 * 3 + 0.1 * 13 = 4; then 0.9 * 4 + 0.1 * 24 = 6. With warm-up the second would be (3 + 13) / 2.
    teacher = MeanTeacher(Number(1), decay=0.9, warm_up=False)
    assert not teacher.has_moved
    assert follow(teacher, [3, 13, 24]) == pytest.approx([3, 4, 6])
    assert teacher.has_moved


# What predicts


def test_everything_that_describes_the_prediction_is_that_of_the_deployed_network(make_networks):
    deployed = make_unet(num_classes=3)
    networks = make_networks(deployed).eval()
    images = torch.rand(2, 3, 32, 32)
    assert networks.deployed is deployed
    assert networks.num_classes == 3
    assert networks.branches == ("prediction",)
    assert networks.architecture == deployed.architecture
    assert torch.equal(networks(images), deployed(images))


def test_the_network_for_inference_is_the_deployed_one(make_networks):
    deployed = make_unet()
    assert make_networks(deployed).inference_network() is deployed


def test_the_network_for_inference_has_no_second_decoder_either(make_networks):
    deployed = make_unet(upsampling=TWO_DECODERS).eval()
    slim = make_networks(deployed).inference_network()
    assert slim.architecture["upsampling"] == ["bilinear"]
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(slim(images), deployed(images))


def test_a_deployed_network_that_needs_nothing_for_training_alone_may_stay_as_it_is():
    network = Number(1)
    assert TrainingNetworks(network).inference_network() is network


# Mean teacher


def test_the_teacher_starts_as_a_copy_of_the_student():
    student = make_unet()
    networks = MeanTeacher(student)
    assert networks.student is student
    pairs = zip(networks.teacher.state_dict().values(), student.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert not {id(p) for p in networks.teacher.parameters()} & {id(p) for p in student.parameters()}


def test_the_first_update_copies_and_later_ones_average():
    # a = 0, 1/2, 2/3, 3/4: so long as 1 - 1 / (t + 1) is below the decay, the teacher is the mean of all students
    assert follow(MeanTeacher(Number(100)), [4, 8, 12, 0]) == pytest.approx([4, 6, 8, 6])


def test_the_decay_is_the_largest_share_that_the_teacher_keeps():
    # a = 0, 1/2, 0.6, 0.6
    assert follow(MeanTeacher(Number(100), decay=0.6), [4, 8, 16, 0]) == pytest.approx([4, 6, 10, 6])


def test_the_decay_is_0_99_from_the_hundredth_update_on():
    teacher = MeanTeacher(Number(0))
    follow(teacher, [0] * 98)
    # t = 98: a = 1 - 1 / 99; t = 99: a = 0.99; t = 100: 1 - 1 / 101 would be more
    assert follow(teacher, [99]) == pytest.approx([1])
    assert follow(teacher, [101, 102]) == pytest.approx([2, 3])


def test_running_statistics_are_those_of_the_student():
    networks = MeanTeacher(Number(1))
    follow(networks, [4, 8])
    assert networks.teacher.statistic.item() == 80
    assert networks.student.statistic.item() == 80


def test_only_the_student_gets_gradients():
    networks = MeanTeacher(make_unet())
    images = torch.rand(2, 3, 32, 32)
    (networks.student.logits(images) - networks.teacher.logits(images)).square().mean().backward()
    assert not any(p.requires_grad or p.grad is not None for p in networks.teacher.parameters())
    assert all(p.requires_grad and p.grad is not None for p in networks.student.parameters())


def test_an_update_leaves_the_student_as_it_is():
    networks = MeanTeacher(make_unet())
    before = copy.deepcopy(networks.student.state_dict())
    networks.update_teacher()
    assert all(torch.equal(value, before[key]) for key, value in networks.student.state_dict().items())


def test_student_and_teacher_train_together():
    networks = MeanTeacher(make_unet())
    for mode in (False, True):
        networks.train(mode)
        assert networks.teacher.training == networks.student.training == mode


def test_a_restored_teacher_continues_where_it_was():
    networks = MeanTeacher(Number(1))
    follow(networks, [4, 8, 12])
    resumed = MeanTeacher(Number(0))
    resumed.load_state_dict(copy.deepcopy(networks.state_dict()))
    assert resumed.teacher.value.item() == networks.teacher.value.item() == 8
    assert follow(resumed, [0, 1]) == follow(networks, [0, 1])  # the number of updates decides: 6 and 5
    assert resumed.teacher.value.item() == pytest.approx(5)


def test_a_copy_has_a_teacher_of_its_own():
    networks = MeanTeacher(Number(1))
    copied = copy.deepcopy(networks)
    follow(copied, [5])
    assert networks.teacher.value.item() == 1


# Pair


def test_a_pair_trains_both_and_one_checkpoint_holds_both():
    first, second = Number(1), Number(2)
    pair = NetworkPair(first, second)
    assert (pair.first, pair.second) == (first, second)
    assert [parameter.item() for parameter in pair.parameters()] == [1, 2]
    other = NetworkPair(Number(0), Number(0))
    other.load_state_dict(pair.state_dict())
    assert (other.first.value.item(), other.second.value.item()) == (1, 2)


def test_the_second_network_has_no_say_in_the_prediction():
    pair, images = NetworkPair(make_unet(), make_unet(seed=1)).eval(), torch.rand(2, 3, 32, 32)
    before = pair(images)
    nn.init.normal_(pair.second.heads[0].weight)
    assert torch.equal(pair(images), before)
    assert torch.equal(before, pair.first(images))
