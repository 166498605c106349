from __future__ import annotations

import os

import ignite.distributed as idist
import pytest
import torch

from custom.errors import InputError
from custom.processes import join_processes, leave_processes, on_first_process, others_needed, refuse_unjoined_processes
from custom.runs.folders import run_folder
from tests.conftest import in_one_line
from tests.two_processes import in_two_processes

TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


@pytest.fixture
def environment(monkeypatch):
    """Set the variables by which torchrun tells a process who it is; None for a process of its own."""

    def change(**variables):
        for name in TORCHRUN:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return change


def test_the_overlay_without_torchrun_is_refused_with_the_command(environment):
    environment()
    with pytest.raises(InputError) as error:
        join_processes("gloo")
    assert "start with torchrun --standalone --nproc_per_node=2" in in_one_line(error)


def test_more_processes_than_gpus_are_refused(environment, monkeypatch):
    environment(**{**TORCHRUN, "LOCAL_RANK": "1"})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(InputError) as error:
        join_processes("cpu:gloo,cuda:nccl")
    assert "give torchrun --nproc_per_node=1" in in_one_line(error)


def test_torchrun_without_the_overlay_is_refused(environment):
    environment(**TORCHRUN)
    with pytest.raises(InputError) as error:
        refuse_unjoined_processes()
    assert "multi_gpu_train.yaml" in in_one_line(error)


@pytest.mark.parametrize("variables", [{}, {**TORCHRUN, "WORLD_SIZE": "1"}, {"WORLD_SIZE": "4"}])
def test_a_process_of_its_own_is_no_stranger(environment, variables):
    environment(**variables)
    refuse_unjoined_processes()


def test_a_single_process_calls_a_function_and_passes_its_error_on():
    assert on_first_process(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        on_first_process(divmod, 7, 0)


def test_only_the_first_process_calls_and_all_get_the_result(tmp_path):
    def work():
        callers = []
        result = on_first_process(lambda word: callers.append(word) or f"{word} {os.getpid()}", "by")
        return result, callers

    (result, callers), (other_result, other_callers) = in_two_processes(work, tmp_path)
    assert result == other_result
    assert (callers, other_callers) == (["by"], [])


def test_an_error_found_by_the_first_process_ends_the_others_without_a_message(tmp_path, monkeypatch):
    monkeypatch.setattr("custom.processes.SECONDS_FOR_THE_FIRST_PROCESS", 0)

    def fail():
        raise InputError("no such folder")

    def work():
        try:
            on_first_process(fail)
        except (InputError, SystemExit) as error:
            return repr(error)

    assert in_two_processes(work, tmp_path) == ["InputError('no such folder')", "SystemExit(1)"]


def test_all_processes_choose_the_same_new_run_folder(tmp_path):
    def work():
        folders = []
        for _ in range(2):
            folders.append(os.path.basename(run_folder(tmp_path / "runs", "name")))
            os.makedirs(tmp_path / "runs" / folders[-1], exist_ok=True)
            idist.barrier()
        return folders

    assert in_two_processes(work, tmp_path) == [["name", "name-2"]] * 2


def test_after_leaving_a_process_is_alone(tmp_path):
    def work():
        import torch.distributed as dist

        before = idist.get_world_size()
        leave_processes()
        after = idist.get_world_size()
        dist.init_process_group(
            "gloo", init_method=f"file://{tmp_path / 'again'}", rank=int(os.environ["RANK"]), world_size=2
        )
        return before, after

    assert in_two_processes(work, tmp_path) == [(2, 1)] * 2


def test_leaving_is_nothing_for_a_process_of_its_own():
    leave_processes()
    assert idist.get_world_size() == 1


def test_a_broken_connection_is_reported_in_one_line():
    with pytest.raises(InputError) as error, others_needed():
        raise RuntimeError("gloo/transport/tcp/pair.cc:\nConnection closed by peer")
    assert "another of the" in in_one_line(error)
    assert "Connection closed by peer" in str(error.value)
