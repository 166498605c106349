from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from scripts.child import Child

STARTS = """
import os, signal, subprocess, sys
from scripts.child import Child
child = Child(["sh", "-c", "sleep 600 & echo $!; wait"], subprocess.PIPE)
print(child.process.pid, child.process.stdout.readline().decode(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def wait_until_gone(pid):
    end = time.monotonic() + 30
    while is_running(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_program_and_what_it_started_end_with_a_process_that_is_killed():
    killed = subprocess.run([sys.executable, "-c", STARTS], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    pids = killed.stdout.split()
    assert len(pids) == 2
    for pid in pids:
        wait_until_gone(pid)


@pytest.mark.parametrize("kill", [False, True])
def test_stop_ends_a_program_and_what_it_started(kill):
    child = Child(["sh", "-c", "sleep 600 & echo $!; wait"], subprocess.PIPE)
    inner = int(child.process.stdout.readline())
    assert is_running(child.process.pid) and is_running(inner)
    child.stop(kill)
    assert child.process.returncode < 0
    wait_until_gone(inner)
    child.process.stdout.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child._watch.pid, 0)
    child.stop()  # once more does no harm


def test_a_program_that_does_not_end_by_itself_is_killed():
    child = Child(["sh", "-c", "trap '' TERM; echo ready; sleep 600 & while :; do wait; done"], subprocess.PIPE)
    child.process.stdout.readline()
    child.stop(patience=0.2)
    assert child.process.returncode == -9
    child.process.stdout.close()
