from __future__ import annotations

import gc
import logging
import subprocess
import sys

import pytest
import torch
from ignite.engine import Engine
from monai.data import DataLoader, Dataset
from monai.transforms import Compose

from custom import errors
from custom.errors import InputError, find_input_error, show_input_errors_in_one_line

# The file is loaded by itself: importing the package would cost every process the import of torch.
LOAD = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("errors", {errors.__file__!r})
errors = importlib.util.module_from_spec(spec)
spec.loader.exec_module(errors)
errors.show_input_errors_in_one_line()
"""


def run_script(script):
    return subprocess.run([sys.executable, "-c", LOAD + script], capture_output=True, text=True, timeout=60)


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


def chained(link):
    """The error that reaches the top when an InputError is raised two levels below."""
    try:
        try:
            try:
                raise InputError("deep")
            except InputError as error:
                link(error)
        except RuntimeError as error:
            link(error)
    except RuntimeError as error:
        return error


def raise_from(error):
    raise RuntimeError("wrapped") from error


def raise_meanwhile(_error):
    raise RuntimeError("wrapped")


@pytest.mark.parametrize("link", [raise_from, raise_meanwhile])
def test_an_input_error_is_found_below_other_errors(link):
    assert str(find_input_error(chained(link))) == "deep"


def test_an_input_error_is_its_own_finding():
    error = InputError("here")
    assert find_input_error(error) is error


@pytest.mark.parametrize("error", [None, ValueError("plain")])
def test_nothing_is_found_where_there_is_no_input_error(error):
    assert find_input_error(error) is None


def test_all_processes_but_the_first_wait_with_their_message(monkeypatch, capsys):
    waited = []
    monkeypatch.setattr("custom.errors.time.sleep", waited.append)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    show_input_errors_in_one_line()
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        sys.excepthook(InputError, InputError(f"from {rank}"), None)
    assert waited == [3.0]
    assert capsys.readouterr().err == "error: from 0\nerror: from 1\n"


@pytest.mark.parametrize("text", ["a\nb.png", "a\r\x1b[31m.png", "\udcff.png", "\u2028"])
def test_a_message_is_one_printable_line_whatever_names_it_holds(text):
    message = str(InputError(f"{text} is wrong"))
    assert message.isprintable()
    assert message.endswith(" is wrong")
    message.encode()


def test_ctrl_c_is_one_line_and_status_130():
    process = run_script(
        "errors.advise_after_interrupt('interrupted; go on with --resume true')\nraise KeyboardInterrupt"
    )
    assert (process.returncode, process.stdout) == (130, "")
    assert process.stderr == "\ninterrupted; go on with --resume true\n"


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


class NarrowError(InputError):
    pass


@pytest.fixture
def error_of(monkeypatch):
    """The error of the first batch of a loader, without its workers.

    PyTorch waits 5 s for each worker that has failed when its iterator is collected, so less is asked for and the
    iterator is collected at once.
    """
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)

    def first_error(loader):
        with pytest.raises((RuntimeError, ValueError)) as caught:
            next(iter(loader))
        return caught.value.with_traceback(None)

    def collected_error(loader):
        error = first_error(loader)
        gc.collect()
        return error

    return collected_error


def fail(item):
    try:
        raise InputError("the values are no classes")
    except InputError as error:
        raise InputError(f"{item}.png: the values are no classes") from error


def fail_narrowly(item):
    raise NarrowError(f"{item}.png: the values are no classes")


@pytest.mark.parametrize("transform", [fail, fail_narrowly, Compose([fail]), Compose([fail_narrowly])])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_input_error_in_a_data_loader_is_found_with_its_own_words(error_of, transform, workers):
    loader = DataLoader(Dataset(["a", "b"], transform), batch_size=1, num_workers=workers)
    assert str(find_input_error(error_of(loader))) == "a.png: the values are no classes"


def test_another_error_in_a_worker_stays_what_it_is(error_of):
    def fail(item):
        raise RuntimeError("a defect")

    loader = DataLoader(Dataset(["a"], fail), batch_size=1, num_workers=1, multiprocessing_context="fork")
    assert find_input_error(error_of(loader)) is None


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
