from __future__ import annotations

import os
import signal

import pytest
from ignite.engine import Events

from custom.tracking import closing
from tests.tracking.trainings import CountingTrainer, train


def test_training_that_ends_is_finished(make_tracker, get_run):
    with make_tracker() as tracker:
        tracker.start()
        run_id = tracker.run_id
        assert get_run(run_id).info.status == "RUNNING"
    assert get_run(run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("no memory"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(143), "FAILED")],
)
def test_exception_in_a_trainer_closes_the_run_and_is_raised_again(make_tracker, get_run, error, status):
    tracker = make_tracker()
    tracker.start()
    run_id = tracker.run_id
    with pytest.raises(type(error)):
        train(tracker, CountingTrainer(fails_at=4, error=error))
    assert get_run(run_id).info.status == status
    assert get_run(run_id).data.tags["error"].startswith(type(error).__name__)


def test_exception_outside_a_trainer_closes_the_run(make_tracker, get_run):
    with pytest.raises(ZeroDivisionError), make_tracker() as tracker:
        tracker.start()
        run_id = tracker.run_id
        _ = 1 / 0
    assert get_run(run_id).info.status == "FAILED"


def test_sigterm_closes_the_run(make_tracker, get_run):
    trainer = CountingTrainer()
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: os.kill(os.getpid(), signal.SIGTERM))
    tracker = make_tracker()
    tracker.start()
    run_id = tracker.run_id
    with pytest.raises(SystemExit) as left:
        train(tracker, trainer)
    assert left.value.code == 128 + signal.SIGTERM
    assert get_run(run_id).info.status == "FAILED"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_run_nobody_finished_fails_when_python_exits(make_tracker, get_run, monkeypatch):
    at_exit = []
    monkeypatch.setattr(closing.atexit, "register", at_exit.append)
    tracker = make_tracker()
    tracker.start()
    run_id = tracker.run_id
    at_exit[0]()
    assert get_run(run_id).info.status == "FAILED"


def test_ctrl_c_within_another_error_closes_the_run_as_killed(make_tracker, get_run):
    tracker = make_tracker()
    tracker.start()
    run_id = tracker.run_id
    error = RuntimeError("a worker is gone")
    error.__context__ = KeyboardInterrupt()
    tracker.fail(error)
    assert get_run(run_id).info.status == "KILLED"


def fail_once(make_tracker, **options):
    """The id of a run that ended with an error."""
    tracker = make_tracker(**options)
    tracker.start()
    run_id = tracker.run_id
    tracker.fail(RuntimeError("no space left"))
    return run_id


def test_the_error_of_a_run_that_was_resumed_and_finished_is_forgotten(make_tracker, get_run):
    run_id = fail_once(make_tracker)
    assert "error" in get_run(run_id).data.tags
    with make_tracker(resume=True) as tracker:
        tracker.start()
        assert tracker.run_id == run_id
    assert "error" not in get_run(run_id).data.tags
    assert get_run(run_id).info.status == "FINISHED"


def test_the_error_of_a_run_that_failed_again_is_the_last(make_tracker, get_run):
    run_id = fail_once(make_tracker)
    tracker = make_tracker(resume=True)
    tracker.start()
    tracker.fail(ValueError("another"))
    assert get_run(run_id).data.tags["error"] == "ValueError: another"
