"""Training in several processes, as `torchrun` starts them: joining, what the first one does for all, leaving."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import ignite.distributed as idist
import torch
import torch.distributed as dist

from custom.error_hook import SECONDS_FOR_THE_FIRST_PROCESS, show_input_errors_in_one_line
from custom.errors import InputError, short_reason

__all__ = ["join_processes", "leave_processes", "on_first_process", "others_needed", "refuse_unjoined_processes"]

Result = TypeVar("Result")

PATIENCE = timedelta(hours=1)  # the others wait while the first process checks the data or writes the results


def join_processes(backend: str) -> None:
    """Join the other processes of this training; `ignite.distributed` then has their number and the rank.

    Nothing happens if they have joined already. All processes but the first log warnings and errors only.

    Args:
        backend: what `torch.distributed.init_process_group` takes: "gloo" for the CPU, and "cpu:gloo,cuda:nccl" for
            GPUs: networks and gradients lie there, some metrics on the CPU.

    Raises:
        InputError: not started by torchrun, or more processes than GPUs.
    """
    if dist.is_initialized():
        return
    show_input_errors_in_one_line()
    if not {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        raise InputError(
            "multi_gpu_train.yaml is for several processes: start with torchrun --standalone --nproc_per_node=2 "
            "-m monai.bundle run ..., or leave the file out"
        )
    if "nccl" in backend:
        gpus, local_rank = torch.cuda.device_count(), int(os.environ["LOCAL_RANK"])
        if local_rank >= gpus:
            raise InputError(f"more processes than GPUs on this machine: give torchrun --nproc_per_node={gpus}")
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend, timeout=PATIENCE)
    idist.sync()
    if idist.get_rank() > 0:
        logging.getLogger().setLevel(logging.WARNING)


def leave_processes() -> None:
    """Leave the other processes, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()
        idist.sync()


def refuse_unjoined_processes() -> None:
    """Stop processes that torchrun started and that have not joined each other: each would train alone.

    Raises:
        InputError: there are several processes, and `join_processes` was not called.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and "RANK" in os.environ and not dist.is_initialized():
        raise InputError(
            "torchrun needs the overlay custom/configs/multi_gpu_train.yaml after train.yaml in --config_file; "
            "everything else runs in one process: start it with python"
        )


def on_first_process(call: Callable[..., Result], *arguments: object) -> Result:
    """Call a function on the first process only, and return what it returned on every process.

    The others wait. If the function fails, the first process raises its error and the others end without one, so that
    an error is reported once. Without other processes this is a plain call.

    Args:
        call: the function; with several processes its result must be picklable.
        arguments: its arguments.
    """
    if idist.get_world_size() == 1:
        return call(*arguments)
    outcome: list = [False, None]
    try:
        if idist.get_rank() == 0:
            outcome = [True, call(*arguments)]
    finally:  # an error continues upwards once the others know
        with others_needed():
            dist.broadcast_object_list(outcome, src=0)
    has_succeeded, result = outcome
    if not has_succeeded:
        time.sleep(SECONDS_FOR_THE_FIRST_PROCESS)  # torchrun ends all as soon as one ends
        raise SystemExit(1)
    return result


@contextmanager
def others_needed() -> Iterator[None]:
    """Around communication: report in one line that another process is gone.

    Raises:
        InputError: the communication failed.
    """
    try:
        yield
    except RuntimeError as error:
        raise InputError(
            f"another of the {idist.get_world_size()} processes stopped; see its own message, if any "
            f"({short_reason(error)})"
        ) from error
