from __future__ import annotations

import math

import pytest

from custom.errors import InputError
from custom.losses import ConsistencyWeight


def test_iteration_ramp_at_start_half_and_end():
    weight = ConsistencyWeight(beta=0.3)
    assert weight(0, epoch_length=4, max_epochs=5) == pytest.approx(0.3 * math.exp(-5))
    assert weight(10, epoch_length=4, max_epochs=5) == pytest.approx(0.3 * math.exp(-1.25))
    assert weight(20, epoch_length=4, max_epochs=5) == pytest.approx(0.3)


def test_beta_scales_the_ramp():
    assert ConsistencyWeight(beta=0.1)(10, 4, 5) == pytest.approx(0.1 * math.exp(-1.25))


@pytest.mark.parametrize(
    ("iteration", "step"), [(0, 0), (6, 0), (7, 1), (13, 1), (14, 2), (1399, 199), (1400, 200), (5000, 200)]
)
def test_release_ramp_climbs_one_of_200_steps_every_1_75_epochs(iteration, step):
    weight = ConsistencyWeight(beta=0.3, ramp="release")(iteration, epoch_length=4, max_epochs=350)
    assert weight == pytest.approx(0.3 * math.exp(-5 * (1 - step / 200) ** 2))


def test_release_ramp_rounds_the_length_of_a_step_down():
    weight = ConsistencyWeight(ramp="release")
    steps = [weight(iteration, epoch_length=3, max_epochs=350) for iteration in (4, 5, 9, 10)]  # floor(5.25) = 5
    assert steps[0] < steps[1] == steps[2] < steps[3]


def test_release_ramp_of_one_iteration_an_epoch_is_defined():
    assert ConsistencyWeight(ramp="release")(200, epoch_length=1, max_epochs=350) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("epoch_length", "last"),
    [(4, 0.0174), (12, 0.0044), (68, 0.0022)],
    ids=["BUSI 10 %", "polyp 10 %", "BCSS 30 %"],
)
def test_release_epoch_ramp_hardly_leaves_the_ground_in_200_epochs(epoch_length, last):
    weight = ConsistencyWeight(ramp="release_epoch")(200 * epoch_length - 1, epoch_length, max_epochs=200)
    assert weight == pytest.approx(last, abs=5e-5)


def test_release_epoch_ramp_steps_once_in_epoch_length_epochs():
    weight = ConsistencyWeight(ramp="release_epoch")
    values = [weight(iteration, epoch_length=4, max_epochs=200) for iteration in (0, 15, 16, 31, 32)]
    expected = [0.3 * math.exp(-5 * (1 - step / 200) ** 2) for step in (0, 0, 1, 1, 2)]
    assert values == pytest.approx(expected)


def test_unknown_ramp_names_the_choices():
    with pytest.raises(InputError, match="'linear': choose 'iteration', 'release' or 'release_epoch'"):
        ConsistencyWeight(ramp="linear")
