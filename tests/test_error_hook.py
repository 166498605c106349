from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from ignite.engine import Engine

from custom.error_hook import show_input_errors_in_one_line
from custom.errors import InputError

REPOSITORY = Path(__file__).parents[1]
LOAD = """
from custom import error_hook, errors
error_hook.show_input_errors_in_one_line()
"""


def run_script(script):
    command = [sys.executable, "-c", LOAD + script]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=REPOSITORY)


def test_an_uncaught_input_error_is_one_line_and_status_1():
    process = run_script("raise errors.InputError('image_size 30: give a multiple of 8')")
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr == "error: image_size 30: give a multiple of 8\n"


def test_an_input_error_within_an_error_of_the_config_parser_is_one_line():
    process = run_script("""
try:
    raise errors.InputError("no datalist")
except errors.InputError as error:
    raise RuntimeError("Failed to evaluate @data") from error
""")
    assert (process.returncode, process.stderr) == (1, "error: no datalist\n")


def test_every_other_error_keeps_its_traceback():
    process = run_script("raise RuntimeError('a defect')")
    assert process.returncode == 1
    assert process.stderr.startswith("Traceback (most recent call last):")
    assert process.stderr.endswith("RuntimeError: a defect\n")


def test_all_processes_but_the_first_wait_with_their_message(monkeypatch, capsys):
    waited = []
    monkeypatch.setattr("custom.error_hook.time.sleep", waited.append)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    show_input_errors_in_one_line()
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        sys.excepthook(InputError, InputError(f"from {rank}"), None)
    assert waited == [3.0]
    assert capsys.readouterr().err == "error: from 0\nerror: from 1\n"


def test_ctrl_c_is_one_line_and_status_130():
    process = run_script(
        "error_hook.advise_after_interrupt('interrupted; continue with --resume true')\nraise KeyboardInterrupt"
    )
    assert (process.returncode, process.stdout) == (130, "")
    assert process.stderr == "\ninterrupted; continue with --resume true\n"


def test_ctrl_c_within_other_errors_is_one_line():
    process = run_script("""
import atexit
atexit.register(print, "closed")
try:
    raise KeyboardInterrupt
finally:
    raise RuntimeError("DataLoader worker exited unexpectedly")
""")
    assert (process.returncode, process.stdout) == (130, "closed\n")
    assert process.stderr == "\ninterrupted; start the command again\n"


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (
            "OSError(28, 'No space left on device', '/data/masks/1.png')",
            "/data/masks/1.png: No space left on device; free",
        ),
        ("OSError(28, 'No space left on device')", "writing the results: No space left on device; free some space"),
        (
            "RuntimeError('worker 0: [Errno 28] No space left on device')",
            "writing the results: No space left on device",
        ),
        ("OSError(30, 'Read-only file system', '/data/x')", "/data/x: Read-only file system; give a folder"),
        ("PermissionError(13, 'Permission denied', '/data/x')", "/data/x: Permission denied; change its permissions"),
    ],
)
def test_a_disk_that_is_full_or_closed_is_one_line(failure, told):
    process = run_script(f"""
try:
    raise {failure}
except Exception as error:
    raise RuntimeError("Failed to evaluate") from error
""")
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: {told}")
    assert process.stderr.count("\n") == 1


def test_ignite_does_not_log_what_is_shown_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    show_input_errors_in_one_line()
    for error in (InputError("known"), RuntimeError("a defect")):

        def step(engine, batch, error=error):
            raise error

        with pytest.raises(type(error)):
            Engine(step).run([1])
    logged = capsys.readouterr().err
    assert "known" not in logged
    assert "a defect" in logged
