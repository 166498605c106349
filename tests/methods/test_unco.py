from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from custom.errors import InputError
from custom.losses import ConsistencyWeight
from custom.methods import UncertaintyCoEstimator
from custom.methods.unco import Taught, uncertainties, weighted_distance
from custom.networks import MeanTeacher, NetworkPair
from tests.methods.conftest import make_batch, make_trainer, make_unet, run


class Answer(nn.Module):
    """A student that gives class 1 the logit w * mean of the image + v, and class 0 the logit 0, at each pixel."""

    num_classes = 2

    def __init__(self, w, v):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([float(w)]))
        self.v = nn.Parameter(torch.tensor([float(v)]))

    def logits(self, images):
        grey = images.mean(dim=1, keepdim=True)
        return torch.cat([0 * grey, self.w * grey + self.v], dim=1)


class Darker:
    """In place of other colours: every call but the students' makes the images darker than the call before."""

    def __init__(self):
        self.calls = 0

    def __call__(self, images, probability):
        if probability < 1:
            return images
        self.calls += 1
        return images / self.calls


def make_pair():
    return NetworkPair(MeanTeacher(make_unet()), MeanTeacher(make_unet(seed=1)))


def answers(first=(1.0, 0.5), second=(-1.0, 0.2)):
    return NetworkPair(MeanTeacher(Answer(*first)), MeanTeacher(Answer(*second)))


def one_pixel(grey=1.0):
    image = torch.full((1, 3, 1, 1), grey)
    return {"labelled": {"image": image, "label": torch.ones(1, 1, 1, 1)}, "unlabelled": {"image": image}}


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def outcome(network, batch, **arguments):
    (output,) = run(make_trainer(UncertaintyCoEstimator, network, [batch], **arguments))
    return {name: float(value) for name, value in output.items()}


def test_uncertainty_is_the_mean_of_both_distances_of_the_teachers_and_one_teachers_variance():
    def taught(plain, mean, variance):
        return Taught(*(torch.full((1, 1, 1, 1), value) for value in (plain, mean, variance)))

    first, second = uncertainties(taught(0.9, 0.8, 0.06), taught(0.4, 0.5, 0.0))
    assert first.item() == pytest.approx((0.3**2 + 0.06 + 0.5**2) / 3)
    assert second.item() == pytest.approx((0.3**2 + 0.5**2) / 3)


def test_the_squared_distance_counts_less_where_it_is_uncertain_and_rows_count_alike():
    prediction = torch.tensor([[1.0, 0.0], [0.5, 0.5]]).view(2, 1, 1, 2)
    target = torch.zeros(2, 1, 1, 2)
    uncertainty = torch.tensor([[0.0, 0.7], [0.2, 0.2]]).view(2, 1, 1, 2)
    rows = [1 / (1 + math.exp(-0.7)), 0.25]
    assert weighted_distance(prediction, target, uncertainty).item() == pytest.approx(sum(rows) / 2)


def test_all_terms_of_one_pixel():
    output = outcome(answers(), one_pixel(), copies=2, colours=Darker(), consistency_weight=ConsistencyWeight(1.0))
    # Calls 1 and 2 make the copies of the first teacher, 3 and 4 those of the second one.
    p = {"first": sigmoid(1.5), "second": sigmoid(-0.8)}  # students and teachers are still the same
    copies = {"first": [sigmoid(1.5), sigmoid(1.0)], "second": [sigmoid(0.2 - 1 / 3), sigmoid(0.2 - 1 / 4)]}
    means = {name: sum(values) / 2 for name, values in copies.items()}
    variances = {name: sum((value - means[name]) ** 2 for value in values) / 2 for name, values in copies.items()}
    between = (means["first"] - means["second"]) ** 2 + (p["first"] - p["second"]) ** 2
    doubts = [(between + variances[name]) / 3 for name in ("first", "second")]
    assert output["uncertainty"] == pytest.approx(sum(doubts) / 2, rel=1e-4)
    assert output["internal_first"] == output["internal_second"] == pytest.approx(0, abs=1e-12)
    # Both classes of the pixel have the same distance and weight, so the weights cancel out in the mean.
    assert output["external_first"] == pytest.approx((p["first"] - p["second"]) ** 2, rel=1e-4)
    assert output["external_second"] == pytest.approx((p["first"] - p["second"]) ** 2, rel=1e-4)
    cosine = (1.0 * -1.0 + 0.5 * 0.2) / math.sqrt((1 + 0.25) * (1 + 0.04))
    assert output["adversary"] == pytest.approx(1 + cosine, rel=1e-4)
    supervised = output["supervised_first"] + output["supervised_second"]
    ramp = math.exp(-5)
    expected = 0.5 * (10 * ramp * (output["external_first"] + output["external_second"]) + output["adversary"])
    assert output["loss"] == pytest.approx(supervised + expected, rel=1e-5)


def test_a_student_in_other_colours_is_compared_with_its_own_teacher_on_the_plain_image():
    def halve(images, probability):
        return images / 2 if probability < 1 else images

    output = outcome(answers(), one_pixel(), colours=halve)
    assert output["internal_first"] == pytest.approx((sigmoid(1.0) - sigmoid(1.5)) ** 2, rel=1e-4)
    assert output["internal_second"] == pytest.approx((sigmoid(-0.3) - sigmoid(-0.8)) ** 2, rel=1e-4)
    assert output["external_first"] == pytest.approx((sigmoid(1.0) - sigmoid(-0.8)) ** 2, rel=1e-4)


def gradients_of_the_adversary(released):
    network = answers()
    trainer = make_trainer(UncertaintyCoEstimator, network, [one_pixel()], released_adversary=released)
    value, adversary = trainer._adversary()
    adversary.backward()
    return value.item(), {name: parameter.grad for name, parameter in network.named_parameters()}


def test_the_adversary_is_lowered_by_all_parameters_of_both_students():
    value, gradients = gradients_of_the_adversary(released=False)
    first, second = torch.tensor([1.0, 0.5]), torch.tensor([-1.0, 0.2])
    assert value == pytest.approx(1 + (first @ second / first.norm() / second.norm()).item())
    cosine = value - 1
    by_hand = second / first.norm() / second.norm() - cosine * first / first.norm() ** 2
    found = [gradients[f"deployed.deployed.{name}"].item() for name in "wv"]
    assert found == pytest.approx(by_hand.tolist(), rel=1e-4)
    assert all(gradients[f"second.deployed.{name}"].any() for name in "wv")


def test_the_released_adversary_differs_in_the_first_tensor_alone_and_reaches_the_second_student_twice():
    value, gradients = gradients_of_the_adversary(released=True)
    theta = torch.tensor([1.0, -1.0, 0.2], requires_grad=True)  # w of the first student, w and v of the second one
    vectors = theta[[0, 2]], theta[1:]
    adversary = 1 + vectors[0] @ vectors[1] / vectors[0].norm() / vectors[1].norm()
    adversary.backward()
    assert value == pytest.approx(adversary.item())
    assert gradients["deployed.deployed.w"].item() == pytest.approx(theta.grad[0].item())
    assert gradients["deployed.deployed.v"].item() == 0
    found = [gradients[f"second.deployed.{name}"].item() for name in "wv"]
    assert found == pytest.approx((2 * theta.grad[1:]).tolist())


def test_the_adversary_is_the_same_in_channels_last_memory_order():
    def adversary(network):
        return make_trainer(UncertaintyCoEstimator, network, [make_batch()])._adversary()[0].item()

    assert adversary(make_pair().to(memory_format=torch.channels_last)) == pytest.approx(adversary(make_pair()))


def test_each_student_learns_from_both_teachers_and_no_teacher_gets_a_gradient():
    network = make_pair()
    before = copy.deepcopy(network.state_dict())
    trainer = make_trainer(UncertaintyCoEstimator, network, [make_batch(size=32)], copies=2)
    gradients = {}

    def step(batch, weight):
        loss, terms = trainer.loss(batch, weight)
        for name in ("internal_first", "external_first", "internal_second", "external_second"):
            network.zero_grad(set_to_none=True)
            terms[name].backward(retain_graph=True)
            gradients[name] = {key for key, parameter in network.named_parameters() if parameter.grad is not None}
        assert all(torch.equal(parameter, before[key]) for key, parameter in network.named_parameters())
        return loss, terms

    trainer.step = step
    run(trainer)
    assert gradients["internal_first"] == gradients["external_first"]
    assert gradients["internal_second"] == gradients["external_second"]
    students = {"first": network.first.student, "second": network.second.student}
    for name, student in students.items():
        own = {id(parameter) for parameter in student.parameters()}
        assert {id(network.get_parameter(key)) for key in gradients[f"internal_{name}"]} == own


def test_both_teachers_follow_their_students():
    network = make_pair()
    run(make_trainer(UncertaintyCoEstimator, network, [make_batch(size=32)], copies=1))
    for pair in (network.first, network.second):  # the first update is a copy
        for teacher, student in zip(pair.teacher.parameters(), pair.student.parameters(), strict=True):
            torch.testing.assert_close(teacher, student)


def test_labels_only_leave_the_supervised_losses():
    output = outcome(make_pair(), make_batch(2, 0))
    assert set(output) == {"loss", "consistency_weight", "supervised_first", "supervised_second"}
    assert output["loss"] == pytest.approx(output["supervised_first"] + output["supervised_second"])


def test_a_scale_of_one_doubles_the_loss():
    half, whole = (
        outcome(make_pair(), make_batch(size=32), copies=1, loss_scale=scale, colours=Darker()) for scale in (0.5, 1.0)
    )
    assert whole["loss"] == pytest.approx(2 * half["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("copies", 0),
        ("internal_weight", -1.0),
        ("external_weight", math.nan),
        ("adversary_weight", -1),
        ("loss_scale", 0),
    ],
)
def test_bad_values_are_refused_in_one_line(option, value, message_of):
    with pytest.raises(InputError, match=f"{option} {value}: give") as error:
        outcome(make_pair(), make_batch(), **{option: value})
    message_of(error)
