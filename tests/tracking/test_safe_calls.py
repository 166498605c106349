from __future__ import annotations

import logging

import pytest

from custom.tracking.safe_calls import SafeCalls


def fail():
    raise ConnectionError("server\ngone")


def test_a_failure_is_one_warning_of_one_line(caplog):
    safely = SafeCalls("the server", pause=0)
    with caplog.at_level(logging.WARNING):
        safely(fail)
        safely(fail)
    assert [record.getMessage() for record in caplog.records] == [
        "the server failed, training continues without it (ConnectionError: server gone)"
    ]


def test_calls_are_skipped_during_the_pause_after_a_failure_until_a_retry():
    safely, calls = SafeCalls("the server", pause=1000), []
    safely(fail)
    safely(calls.append, "in the pause")
    safely.retry()
    safely(calls.append, "after it")
    assert calls == ["after it"]


def test_ctrl_c_goes_through():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SafeCalls("the server")(interrupt)
