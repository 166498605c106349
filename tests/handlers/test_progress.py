from __future__ import annotations

import contextlib
import io
import logging
import re
from types import SimpleNamespace

import pytest
from ignite.engine import Engine, Events

from custom.handlers import progress
from custom.handlers.progress import attach_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Time that passes only while the trainer works."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(progress, "time", Clock())
    return progress.time


def validator():
    """Validates with 0.5, 0.7 and 0.6 after the epochs 1, 2 and 3."""
    state = SimpleNamespace(key_metric_name="dice", best_metric=-1.0, best_metric_epoch=-1)

    def validate(engine):
        state.best_metric, state.best_metric_epoch = [(0.5, 1), (0.7, 2), (0.7, 2)][engine.state.epoch - 1]

    return SimpleNamespace(state=state, validate=validate)


def run(stderr, clock=None, seconds_per_iteration=0.0, resume_after=0, load=None, evaluator=None) -> None:
    """Train 3 epochs of 4 iterations with a loss of 0.25; `load` is called when the run starts."""

    def iterate(engine, batch):
        if clock is not None:
            clock.now += seconds_per_iteration
        return {"loss": 0.25}

    trainer = Engine(iterate)
    if resume_after:
        trainer.load_state_dict({"iteration": resume_after, "max_epochs": 3, "epoch_length": 4})
    with contextlib.redirect_stderr(stderr):
        attach_progress(trainer, "alignment", evaluator=evaluator)
        if evaluator is not None:
            trainer.add_event_handler(Events.EPOCH_COMPLETED, evaluator.validate)
        if load is not None:
            trainer.add_event_handler(Events.STARTED, load)
        trainer.run([0] * 4, max_epochs=3, epoch_length=4)


def messages(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == progress.__name__]


def bar_states(terminal) -> list[tuple[int, int]]:
    """Every "done/total" that the bar has shown."""
    return [(int(done), int(total)) for done, total in re.findall(r"\| (\d+)/(\d+) \[", terminal.getvalue())]


def test_terminal_gets_one_bar_over_all_epochs():
    terminal = Terminal()
    run(terminal)
    states = bar_states(terminal)
    assert states[0] == (0, 12)
    assert states[-1] == (12, 12)
    assert terminal.getvalue().count("\n") == 1


def test_bar_shows_stage_epoch_and_loss():
    terminal = Terminal()
    run(terminal)
    last = terminal.getvalue().split("\r")[-1]
    assert last.startswith("alignment: 100%")
    assert "epoch 3/3, loss 0.2500" in last


def test_bar_of_a_resumed_stage_starts_at_the_resumed_iteration():
    terminal = Terminal()
    run(terminal, resume_after=8)
    states = bar_states(terminal)
    assert states[0] == (8, 12)
    assert states[-1] == (12, 12)


def test_bar_starts_at_a_checkpoint_loaded_when_the_run_starts():
    def load(engine):
        engine.state.iteration, engine.state.epoch = 8, 2

    terminal = Terminal()
    run(terminal, load=load)
    assert bar_states(terminal)[0] == (8, 12)


def test_log_gets_a_line_at_most_every_30_seconds_and_a_last_one(clock, caplog):
    with caplog.at_level(logging.INFO):
        run(io.StringIO(), clock, seconds_per_iteration=8.0)
    # Iterations end at 8, 16, 24, 32, ... 96 s: a line at 32, at 64 and at 96.
    assert [line.split("iteration ")[1].split(",")[0] for line in messages(caplog)] == ["4/12", "8/12", "12/12"]


def test_log_line_shows_epoch_iteration_loss_speed_and_time_left(clock, caplog):
    with caplog.at_level(logging.INFO):
        run(io.StringIO(), clock, seconds_per_iteration=20.0)
    assert messages(caplog)[0] == ("alignment: epoch 1/3, iteration 2/12, loss 0.2500, 0.05 iterations/s, 0:03:20 left")


def test_speed_of_a_resumed_stage_counts_only_its_own_iterations(clock, caplog):
    with caplog.at_level(logging.INFO):
        run(io.StringIO(), clock, seconds_per_iteration=20.0, resume_after=8)
    assert messages(caplog)[0] == (
        "alignment: epoch 3/3, iteration 10/12, loss 0.2500, 0.05 iterations/s, 0:00:40 left"
    )


def test_bar_ends_with_the_best_validation():
    terminal = Terminal()
    run(terminal, evaluator=validator())
    assert "loss 0.2500, best dice 0.7000 (epoch 2)" in terminal.getvalue().split("\r")[-1]


def test_log_lines_show_the_best_validation_so_far(clock, caplog):
    with caplog.at_level(logging.INFO):
        run(io.StringIO(), clock, seconds_per_iteration=20.0, evaluator=validator())
    lines = messages(caplog)
    assert "best" not in lines[0]
    assert "loss 0.2500, best dice 0.5000 (epoch 1), 0.05 iterations/s" in lines[2]
    assert lines[-1] == "alignment: finished, best dice 0.7000 (epoch 2)"


def test_nothing_is_drawn_where_there_is_no_terminal():
    file = io.StringIO()
    run(file)
    assert file.getvalue() == ""
