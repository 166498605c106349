from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from custom.losses import ConsistencyWeight
from custom.methods import UncertaintyAwareMeanTeacher
from custom.methods.trainer import dice_and_cross_entropy
from custom.networks import MeanTeacher
from tests.methods.conftest import STEP, learn, make_batch, make_trainer, make_unet, run


class Table(nn.Module):
    """Answers every image with the same class probabilities, a table [K, W, H]."""

    def __init__(self, probabilities):
        super().__init__()
        self.table = nn.Parameter(torch.tensor(probabilities).log())

    def logits(self, images):
        return self.table.expand(len(images), -1, -1, -1)


def tables(student, teacher):
    """A student and a teacher that answer with the class probabilities of each of a row of pixels, [pixels][K]."""
    student, teacher = (
        [[[pixel[index] for pixel in row]] for index in range(len(row[0]))] for row in (student, teacher)
    )
    networks = MeanTeacher(Table(student))
    networks.teacher.table.data = Table(teacher).table.data
    return networks


def row_batch(pixels, labelled=1, unlabelled=1):
    """Images of one row of pixels, everything labelled as background."""
    batch = {"labelled": {"image": torch.zeros(labelled, 3, 1, pixels), "label": torch.zeros(labelled, 1, 1, pixels)}}
    if unlabelled:
        batch["unlabelled"] = {"image": torch.zeros(unlabelled, 3, 1, pixels)}
    return batch


def uncertain_networks(num_classes=2, dropout=False):
    """A mean teacher that differs from its student and is certain of some pixels only."""
    networks = MeanTeacher(make_unet(num_classes, dropout=dropout))
    networks.teacher.load_state_dict(make_unet(num_classes, seed=7).state_dict())
    networks.teacher.heads[0].weight *= 4
    return networks


# The loss


def loss_by_hand(networks, batch, noise, noises):
    """The loss of the first iteration of one, pixel by pixel where the teacher is asked."""
    student, teacher = networks.student, networks.teacher
    x_l, y, x_u = batch["labelled"]["image"], batch["labelled"]["label"], batch["unlabelled"]["image"]
    answers = student.logits(torch.cat([x_l, x_u]))
    supervised = dice_and_cross_entropy()(answers[: len(x_l)], y)
    p_s = answers[len(x_l) :].softmax(dim=1)
    with torch.no_grad():
        p_t = teacher.logits(x_u + noise).softmax(dim=1)
        copies = teacher.logits(torch.cat([x_u] * 8) + noises).softmax(dim=1)
        means = [sum(copies[number :: len(x_u)]) / 8 for number in range(len(x_u))]
    threshold = (0.75 + 0.25 * math.exp(-5)) * math.log(2)
    total, count = 0.0, 0
    for image, mean in enumerate(means):
        for i in range(mean.shape[1]):
            for j in range(mean.shape[2]):
                if -sum(p * math.log(p + 1e-6) for p in mean[:, i, j].tolist()) < threshold:
                    total = total + ((p_s[image, :, i, j] - p_t[image, :, i, j]) ** 2).sum()
                    count += 1
    consistency = total / (2 * count)
    terms = {
        "supervised": supervised.item(),
        "consistency": consistency.item(),
        "certain_share": count / x_u[:, 0].numel(),
    }
    return terms, supervised + 200 * math.exp(-5) * consistency


@pytest.mark.parametrize("num_classes", [2, 3])
def test_an_iteration_equals_the_formulas_and_a_step_down_their_gradient(num_classes):
    networks, batch = uncertain_networks(num_classes), make_batch(2, 2, num_classes)
    by_hand = copy.deepcopy(networks).train()
    weight = ConsistencyWeight(beta=200)  # so large that its gradient shows
    (output,) = run(make_trainer(UncertaintyAwareMeanTeacher, networks, [batch], consistency_weight=weight), seed=5)

    torch.manual_seed(5)
    noise, noises = ((0.1 * torch.randn(count, 3, 16, 16)).clamp(-0.2, 0.2) for count in (2, 16))
    terms, loss = loss_by_hand(by_hand, batch, noise, noises)
    loss.backward()
    assert 0.05 < terms["certain_share"] < 0.95
    assert {name: float(output[name]) for name in terms} == pytest.approx(terms, rel=1e-4)
    assert output["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for (name, parameter), expected in zip(
        networks.student.named_parameters(), by_hand.student.parameters(), strict=True
    ):
        torch.testing.assert_close(parameter.data, expected.data - STEP * expected.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_only_pixels_of_which_the_teacher_is_certain_count():
    student = [[0.3, 0.7], [0.9, 0.1]]
    teacher = [[0.02, 0.98], [0.5, 0.5]]
    (output,) = run(make_trainer(UncertaintyAwareMeanTeacher, tables(student, teacher), [row_batch(2)]))
    assert output["consistency"].item() == pytest.approx((0.28**2 + 0.28**2) / 2, rel=1e-5)
    assert output["certain_share"].item() == 0.5


def test_squares_are_summed_over_three_classes_and_halved_all_the_same():
    student = [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]
    teacher = [[0.01, 0.01, 0.98], [0.3, 0.3, 0.4]]
    (output,) = run(make_trainer(UncertaintyAwareMeanTeacher, tables(student, teacher), [row_batch(2)]))
    assert output["consistency"].item() == pytest.approx((0.19**2 + 0.29**2 + 0.48**2) / 2, rel=1e-5)


def test_without_a_certain_pixel_there_is_no_consistency():
    networks = tables([[0.3, 0.7]], [[0.5, 0.5]])
    (output,) = run(make_trainer(UncertaintyAwareMeanTeacher, networks, [row_batch(1)]))
    assert output["consistency"].item() == output["certain_share"].item() == 0
    assert output["loss"] == pytest.approx(output["supervised"].item())


def test_three_classes_are_held_to_the_certainty_of_two():
    # entropies 0.47 ln 2 and 1.16 ln 2, of which the latter is but 0.73 ln 3
    certain = []
    for probabilities in ([0.9, 0.1], [0.7, 0.2, 0.1]):
        networks = tables([probabilities], [probabilities])
        (output,) = run(make_trainer(UncertaintyAwareMeanTeacher, networks, [row_batch(1)]))
        certain.append(output["certain_share"].item())
    assert certain == [1, 0]


def entropy(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_the_threshold_rises_over_all_iterations():
    probabilities = [0.5 + pixel / 400 for pixel in range(200)]
    pixels = [[1 - p, p] for p in probabilities]
    trainer = make_trainer(
        UncertaintyAwareMeanTeacher, tables(pixels, pixels), [row_batch(200)] * 2, max_epochs=4, learning_rate=0.0
    )
    shares = [output["certain_share"].item() for output in run(trainer)]
    thresholds = [(0.75 + 0.25 * math.exp(-5 * (1 - t / 8) ** 2)) * math.log(2) for t in range(8)]
    expected = [sum(entropy(p) < threshold for p in probabilities) / 200 for threshold in thresholds]
    assert shares == pytest.approx(expected)
    assert shares[0] < shares[4] < shares[6] < shares[7]


# The teacher


def passes_of(networks, batch, seed=5, **arguments):
    """Inputs and outputs of the teacher's passes in one iteration, and whether it was in training mode."""
    inputs, outputs, modes = [], [], []
    networks.teacher.encoder.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))

    def keep(_module, _inputs, output):
        outputs.append(output)
        modes.append(networks.teacher.training)

    networks.teacher.heads[0].register_forward_hook(keep)
    run(make_trainer(UncertaintyAwareMeanTeacher, networks, [batch], **arguments), seed=seed)
    return inputs, outputs, modes


@pytest.mark.parametrize("passes", [8, 3])
def test_the_teacher_predicts_once_and_then_as_often_as_set(passes):
    inputs, outputs, _ = passes_of(uncertain_networks(), make_batch(1, 2), passes=passes)
    assert [len(images) for images in inputs] == [2, 2 * passes]
    assert not any(output.requires_grad for output in outputs)


def test_the_teacher_sees_unlabelled_images_with_new_noise_of_a_tenth_cut_at_a_fifth():
    batch = make_batch(1, 2, size=32)
    inputs, _, _ = passes_of(uncertain_networks(), batch)
    noises = torch.cat([images - batch["unlabelled"]["image"].repeat(len(images) // 2, 1, 1, 1) for images in inputs])
    assert noises.abs().max().item() == pytest.approx(0.2, abs=1e-6)
    assert noises.mean().item() == pytest.approx(0, abs=0.005)
    assert (noises.abs() < 0.1).float().mean().item() == pytest.approx(0.683, abs=0.01)  # one standard deviation
    assert (noises.abs() > 0.1999).float().mean().item() == pytest.approx(0.0455, abs=0.005)  # beyond two
    assert len({round(noise[0, 0, 0].item(), 6) for noise in noises}) > 15


@pytest.mark.parametrize("dropout", [True, False])
def test_the_teacher_drops_out_anew_in_every_pass(dropout):
    networks = MeanTeacher(make_unet(dropout=dropout))
    inputs, outputs, modes = passes_of(networks, make_batch(2, 2, size=32), noise=0.0)
    assert modes == [True, True]
    assert inputs[0].equal(inputs[1][:2])
    differ = [not torch.allclose(one, outputs[1][:2], atol=1e-5) for one in outputs[1].split(2)[1:]]
    assert differ == [dropout] * 7


def test_the_teacher_uses_the_statistics_of_its_batch():
    networks = MeanTeacher(make_unet(dropout=False))
    for part in networks.teacher.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.fill_(1e3)
    reference = copy.deepcopy(networks.teacher).train()
    batch = make_batch(2, 2)
    _, outputs, _ = passes_of(networks, batch, noise=0.0)
    torch.testing.assert_close(outputs[0], reference.logits(batch["unlabelled"]["image"]))


def test_the_teacher_follows_the_student_after_each_step():
    networks = MeanTeacher(make_unet())
    trainer = make_trainer(UncertaintyAwareMeanTeacher, networks, [make_batch()] * 3, learning_rate=0.1)
    students, teachers = [], []

    def keep(name, target):
        target.append(dict(getattr(networks, name).named_parameters())["heads.0.weight"].detach().clone())

    step = trainer.after_step

    def after_step():
        keep("student", students)
        step()
        keep("teacher", teachers)

    trainer.after_step = after_step
    run(trainer)
    assert not torch.equal(students[0], students[1])
    for t in range(3):  # so early, the average is the mean of all students
        torch.testing.assert_close(teachers[t], sum(students[: t + 1]) / (t + 1))


def test_the_teacher_gets_no_gradient_and_every_weight_of_the_student_does():
    networks = uncertain_networks()
    run(make_trainer(UncertaintyAwareMeanTeacher, networks, [make_batch()]))
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in networks.teacher.parameters())
    assert all(parameter.grad is not None for parameter in networks.student.parameters())


# Training


def test_labels_only_leave_the_supervised_loss_and_still_move_the_teacher():
    networks = uncertain_networks()
    (output,) = run(make_trainer(UncertaintyAwareMeanTeacher, networks, [make_batch(2, 0)]))
    assert set(output) == {"loss", "consistency_weight", "supervised"}
    assert output["loss"] == output["supervised"].item()
    assert torch.equal(networks.teacher.heads[0].weight, networks.student.heads[0].weight)


@pytest.mark.learning
def test_a_tiny_set_can_be_learnt():
    networks = MeanTeacher(make_unet())
    learnt = learn(UncertaintyAwareMeanTeacher, networks)
    assert learnt.first_loss > 0.4
    assert learnt.last_loss < 0.1
    assert learnt.dice > 0.8
    consistencies = [float(output["consistency"]) for output in learnt.outputs]
    assert max(consistencies[-4:]) < max(consistencies)
    assert learnt.outputs[-1]["certain_share"] > 0.9
