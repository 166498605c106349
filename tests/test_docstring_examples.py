"""Examples in docstrings give what they show, and all that users call in some rooms has one."""

from __future__ import annotations

import doctest
import importlib

import pytest

ROOMS = ("first_stage", "inferers", "labels", "losses", "networks", "transforms")
PUBLIC = [
    (room, name) for room in ROOMS for name in importlib.import_module(f"custom.{room}").__all__ if not name.isupper()
]


@pytest.mark.parametrize(("room", "name"), PUBLIC, ids=[".".join(pair) for pair in PUBLIC])
def test_what_users_call_has_an_example_that_gives_what_it_shows(room, name):
    user = getattr(importlib.import_module(f"custom.{room}"), name)
    examples = doctest.DocTestFinder(recurse=False).find(user, name, globs={})  # as in a file of the user's own
    assert sum(len(found.examples) for found in examples) > 0, f"custom.{room}.{name} has no example (>>>)"
    runner = doctest.DocTestRunner(verbose=False)
    for found in examples:
        assert runner.run(found).failed == 0
