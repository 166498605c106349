"""Commands in a copy of this process: it has MONAI loaded, which takes every new process ten seconds.

What only a new process shows, such as the order of imports, is left to the few tests that start one.
"""

from __future__ import annotations

import atexit
import logging
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[1]
PATIENCE = 120  # seconds, after which a copy that hangs is ended


def run_module(*words, cwd=ROOT, **environment) -> subprocess.CompletedProcess:
    """What `python -m WORDS` does in the folder `cwd`, with environment variables beside those of this process."""
    return run_copy(lambda: become_module(*words, cwd=cwd), cwd, **environment)


def become_module(*words, cwd=ROOT) -> None:
    """Go on as `python -m WORDS` in a copy of the tests' process.

    Our own modules are imported anew, from where Python would find them; all others stay as they are.
    """
    module, *arguments = map(str, words)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("custom", "tests")]:
        del sys.modules[name]
    # Workflows of earlier tests put the bundles' folders, where `custom` can be found too, into the path.
    sys.path[:] = [str(cwd), *(path for path in sys.path if path and not Path(path, "custom").exists())]
    sys.argv = ["", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def run_copy(work: Callable[[], object], cwd=ROOT, **environment) -> subprocess.CompletedProcess:
    """Call `work` in a copy of this process as if it were all that a process does."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        pid = start_copy(work, output.fileno(), errors.fileno(), cwd, environment)
        _, status = os.waitpid(pid, 0)
        texts = []
        for stream in (output, errors):
            stream.seek(0)
            texts.append(stream.read().decode())
    return subprocess.CompletedProcess("a copy", os.waitstatus_to_exitcode(status), *texts)


def start_copy(work: Callable[[], object], output: int, errors: int, cwd=None, environment=None) -> int:
    """Start `work` in a copy of this process, which writes to two open files; returns its process id."""
    pid = os.fork()
    if pid == 0:
        _become(work, output, errors, cwd, environment or {})
    return pid


def _become(work, output, errors, cwd, environment) -> NoReturn:
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.alarm(PATIENCE)
        for descriptor, stream in enumerate((os.open(os.devnull, os.O_RDONLY), output, errors)):
            os.dup2(stream, descriptor)
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        _forget_pytest()
        os.environ.update(environment)
        if cwd is not None:
            os.chdir(cwd)
        status = _status_of(work)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _status_of(work) -> int:
    """The exit status as the interpreter finds it, after it has printed an error and called what waits for the end."""
    try:
        try:
            work()
        except SystemExit:
            raise
        except BaseException:
            sys.excepthook(*sys.exc_info())  # which may choose a status of its own
            return 1
        return 0
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    finally:
        atexit._run_exitfuncs()


def _forget_pytest() -> None:
    """What pytest and earlier tests did to a process that a new one would not have."""
    atexit._clear()
    sys.excepthook = sys.__excepthook__
    logging.getLogger().handlers.clear()
    warnings.resetwarnings()
