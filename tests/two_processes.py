"""Two processes that talk to each other through gloo, without the seconds that torchrun takes to start."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def in_two_processes(function, folder):
    """What `function()` returns in each of two processes; it may be a closure, since the processes are forks."""
    folder.mkdir(parents=True, exist_ok=True)
    multiprocessing.start_processes(_run, (function, folder), nprocs=2, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def _run(rank, function, folder):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    torch.save(function(), folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
