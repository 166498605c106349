from __future__ import annotations

import pytest
import torch

from custom.optimizers import PolynomialRestarts


def schedule(total_iterations, base=0.01, **arguments):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    return PolynomialRestarts(optimizer, total_iterations, **arguments)


def rates(scheduler, steps):
    """Learning rate of the next `steps` iterations."""
    values = []
    for _ in range(steps):
        values.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return values


def restarts(values):
    """Iterations at which the learning rate is the highest one."""
    return [iteration for iteration, value in enumerate(values) if value == max(values)]


def test_one_cycle_is_a_polynomial_decay_of_power_0_9():
    expected = [0.01, 0.01 * 0.75**0.9, 0.01 * 0.5**0.9, 0.01 * 0.25**0.9]
    assert rates(schedule(4), 4) == pytest.approx(expected)


def test_power_can_be_chosen():
    assert rates(schedule(4, power=2), 4) == pytest.approx([0.01, 0.01 * 0.5625, 0.01 * 0.25, 0.01 * 0.0625])


def test_exact_cycles_have_equal_length_and_the_last_one_ends_with_the_stage():
    values = rates(schedule(12, cycles=3), 12)
    assert values[:4] == values[4:8] == values[8:]
    assert restarts(values) == [0, 4, 8]


def test_exact_cycles_of_350_epochs_leave_no_stray_cycle():
    assert restarts(rates(schedule(700, cycles=3, epoch_length=2), 700)) == [0, 234, 468]


def test_release_cycles_of_350_epochs_last_116_epochs_and_leave_a_stray_one_at_epoch_348():
    values = rates(schedule(700, cycles=3, restart="release", epoch_length=2), 700)
    assert restarts(values) == [0, 2 * 116, 2 * 232, 2 * 348]
    assert values[231] == pytest.approx(0.01 * (1 / 232) ** 0.9)


@pytest.mark.parametrize("restart", ["exact", "release"])
def test_fewer_iterations_than_cycles_keep_the_base_rate(restart):
    assert rates(schedule(2, cycles=3, restart=restart), 2) == [0.01, 0.01]


def test_a_schedule_loaded_from_its_state_continues_where_it_was():
    interrupted = schedule(12, cycles=3)
    rates(interrupted, 5)
    resumed = schedule(12, cycles=3)
    resumed.optimizer.load_state_dict(interrupted.optimizer.state_dict())
    resumed.load_state_dict(interrupted.state_dict())
    assert rates(resumed, 7) == rates(schedule(12, cycles=3), 12)[5:]
