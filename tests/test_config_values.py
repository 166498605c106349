from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from custom import flag, seeded
from custom.errors import InputError


@pytest.mark.parametrize("value", [True, 1, "true", "True", "yes", "on", "1"])
def test_every_spelling_of_yes_is_true(value):
    assert flag(value) is True


@pytest.mark.parametrize("value", [False, 0, None, "false", "False", "no", "off", "none", "0"])
def test_every_spelling_of_no_is_false(value):
    assert flag(value) is False


@pytest.mark.parametrize("value", ["maybe", "", 2, "ture"])
def test_anything_else_is_refused(value):
    with pytest.raises(InputError, match="is neither true nor false"):
        flag(value)


def draw():
    return torch.rand(()).item(), np.random.rand(), random.random()


def test_the_same_seed_builds_the_same_thing_whatever_came_before():
    first = seeded(7, draw)
    draw()
    assert seeded(7, draw) == first


def test_another_seed_builds_another_thing():
    assert all(one != other for one, other in zip(seeded(7, draw), seeded(8, draw), strict=True))
