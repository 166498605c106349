from __future__ import annotations

import copy
import math

import pytest
import torch

from custom.errors import InputError
from custom.methods import ProgressiveMeanTeacher
from custom.methods.pmt import Turn
from custom.networks import MeanTeacher, NetworkPair
from tests.methods.conftest import make_batch, make_trainer, make_unet, run
from tests.methods.test_mcf import GOOD, POOR, Table, batch_of


def tables(first=GOOD, second=POOR):
    return NetworkPair(MeanTeacher(Table(first)), MeanTeacher(Table(second)))


def outputs_of(network, batches, **arguments):
    outputs = run(make_trainer(ProgressiveMeanTeacher, network, batches, **arguments))
    return [{name: float(value) for name, value in output.items()} for output in outputs]


def ramp(share):
    return math.exp(-5 * (1 - min(8 * share, 1)) ** 2)


def sharpened(p):
    return p**10 / (p**10 + (1 - p) ** 10)


# Turns


def test_students_take_turns_and_count_their_own_updates():
    turns = [Turn.of(iteration, total=50, block=3) for iteration in range(50)]
    assert [turn.active for turn in turns[:12]] == [0, 0, 0, 1, 1, 1] * 2
    assert [turn.is_first for turn in turns] == [True] * 6 + [False] * 44
    for student, updates in ((0, 26), (1, 24)):  # 8 rounds of 3 + 3, and two iterations more
        shares = [turn.share for turn in turns if turn.active == student]
        assert shares == pytest.approx([update / updates for update in range(updates)])


@pytest.mark.parametrize(("total", "block", "length"), [(2, 80, 1), (7, 80, 1), (64, 80, 8), (640, 80, 80), (9, 1, 1)])
def test_a_turn_is_at_most_an_eighth_of_the_run_and_at_least_an_iteration(total, block, length):
    turns = [Turn.of(iteration, total, block) for iteration in range(total)]
    assert [turn.active for turn in turns] == [iteration // length % 2 for iteration in range(total)]


# The loss


def test_in_a_first_turn_a_student_learns_from_labels_and_its_teacher():
    output, _ = outputs_of(tables(), [batch_of(0, 1, 1)] * 2, learning_rate=0.0)
    assert {"rectified", "co_training"}.isdisjoint(output)
    errors = [(p - sharpened(p)) ** 2 for _, p in GOOD]  # the teacher is still the student
    assert output["teacher"] == pytest.approx(sum(errors) / 3, rel=1e-4)
    assert output["loss"] == pytest.approx(output["supervised"] + 5 * ramp(0) * output["teacher"], rel=1e-5)


def test_later_a_student_learns_from_the_other_one_where_that_is_better():
    outputs = outputs_of(tables(), [batch_of(0, 1, 1)] * 4, learning_rate=0.0)
    good, poor = outputs[2:]
    assert (good["active"], good["other_is_better"]) == (0, 0)
    assert good["loss"] == pytest.approx(good["supervised"] + 5 * ramp(0.5) * good["teacher"], rel=1e-5)
    assert (poor["active"], poor["other_is_better"]) == (1, 1)
    assert poor["rectified"] == pytest.approx(0.7**2, rel=1e-4)
    errors = [(p - sharpened(q)) ** 2 for (_, p), (_, q) in zip(POOR, GOOD, strict=True)]
    assert poor["co_training"] == pytest.approx(sum(errors) / 3, rel=1e-4)
    expected = poor["supervised"] + 0.25 * 0.7**2 + 10 * poor["co_training"] + 5 * poor["teacher"]
    assert poor["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_weights_rise_with_an_eighth_of_a_students_own_updates():
    outputs = outputs_of(tables(), [batch_of(0, 1, 1)] * 32, learning_rate=0.0, block=1)
    for iteration in (0, 1, 2, 3, 4, 5, 30, 31):
        output = outputs[iteration]
        terms = output["supervised"] + 5 * ramp(iteration // 2 / 16) * output["teacher"]
        if iteration > 1 and output["other_is_better"]:
            terms += 0.25 * output["rectified"] + 10 * ramp(iteration // 2 / 16) * output["co_training"]
        assert output["loss"] == pytest.approx(terms, rel=1e-5)


# Who moves


def watch(network, batches, **arguments):
    """The names of the parameters that moved, after each iteration."""
    trainer = make_trainer(ProgressiveMeanTeacher, network, batches, **arguments)
    moved, last = [], {}

    def after_step():
        ProgressiveMeanTeacher.after_step(trainer)
        state = {name: parameter.clone() for name, parameter in network.named_parameters()}
        moved.append({name for name, value in state.items() if not torch.equal(value, last[name])})
        last.update(state)

    last.update({name: parameter.clone() for name, parameter in network.named_parameters()})
    trainer.after_step = after_step
    run(trainer)
    return moved


def test_the_other_student_and_its_teacher_stay_bit_for_bit_with_momentum_and_decay_too():
    network = NetworkPair(MeanTeacher(make_unet()), MeanTeacher(make_unet(seed=1)))
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=0.01)
    moved = watch(network, [make_batch(1, 1, size=32)] * 4, block=1, optimizer=optimizer)
    for iteration, names in enumerate(moved):
        own, other = ("second.", "deployed.") if iteration % 2 else ("deployed.", "second.")
        assert not any(name.startswith(other) for name in names)
        assert any(name.startswith(f"{own}deployed.") for name in names)
        assert any(name.startswith(f"{own}average.") for name in names)


def test_the_teacher_that_moves_is_that_of_the_student_that_was_trained():
    network = tables()
    first, second = copy.deepcopy(network.first.student), copy.deepcopy(network.second.teacher)
    outputs_of(network, [batch_of(0, 1, 1)], learning_rate=0.5)
    assert not torch.equal(network.first.student.table, first.table)
    assert torch.equal(network.first.teacher.table, network.first.student.table)  # the first update is a copy
    assert torch.equal(network.second.teacher.table, second.table)


def test_labels_only_leave_the_supervised_loss_and_later_the_rectification():
    outputs = outputs_of(tables(), [batch_of(0, 1, 1, unlabelled=0)] * 4, learning_rate=0.0)
    assert set(outputs[0]) == {"loss", "consistency_weight", "supervised", "active"}
    assert outputs[1]["loss"] == outputs[1]["supervised"]
    assert {"teacher", "co_training"}.isdisjoint(outputs[3])
    assert outputs[3]["loss"] == pytest.approx(outputs[3]["supervised"] + 0.25 * 0.7**2, rel=1e-5)


@pytest.mark.parametrize(
    ("option", "value"),
    [("block", 0), ("co_training_weight", -1.0), ("teacher_weight", math.nan), ("temperature", 0.0)],
)
def test_bad_values_are_refused_in_one_line(option, value, message_of):
    with pytest.raises(InputError, match=f"{option} {value}: give") as error:
        outputs_of(tables(), [batch_of(0, 1, 1)], **{option: value})
    message_of(error)
