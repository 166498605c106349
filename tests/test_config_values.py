from __future__ import annotations

import pytest

from custom import flag
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
