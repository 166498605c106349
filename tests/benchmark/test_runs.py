"""Messages of failed runs, and durations for readers."""

from __future__ import annotations

import pytest

from custom.benchmark.runs import find_error, format_seconds


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("epoch 1\nerror: no data: give some\n", 1, "no data: give some"),
        (
            "Traceback\n  File\ntorch.cuda.OutOfMemoryError: tried 2 GiB\n",
            1,
            "torch.cuda.OutOfMemoryError: tried 2 GiB",
        ),
        ("ValueError: first\nThe above\nRuntimeError: second\n\n", 1, "RuntimeError: second"),
        ("bar 10%\rbar 20%\r", 1, "bar 20%"),
        ("", 3, "exit status 3"),
        ("error: earlier\n", -9, "ended by SIGKILL, as happens when memory runs out"),
        ("", -15, "ended by SIGTERM"),
    ],
)
def test_the_line_with_the_reason(text, status, message):
    assert find_error(text, status) == message


@pytest.mark.parametrize(
    ("seconds", "words"), [(42.4, "42 s"), (89, "89 s"), (120, "2 min"), (5399, "1 h 30 min"), (11100, "3 h 05 min")]
)
def test_durations(seconds, words):
    assert format_seconds(seconds) == words
