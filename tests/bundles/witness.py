"""What processes that torchrun started tell the test: which images they saw, and their weights at the end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from monai.data import Dataset


class NotingDataset(Dataset):
    """Appends the name of each image it loads to `<folder>/seen_<name>_<rank>.txt`."""

    def __init__(self, data, transform, folder, name):
        super().__init__(data, transform)
        self.path = Path(folder) / f"seen_{name}_{idist.get_rank()}.txt"

    def _transform(self, index):
        with self.path.open("a") as file:
            file.write(os.path.basename(self.data[index]["image"]) + "\n")
        return super()._transform(index)


class Witness:
    """Copies the run's folder as it is when epoch 2 begins, and saves each process' own weights after the last one."""

    def __init__(self, folder, copy):
        self.folder = Path(folder)
        self.copy = Path(copy)

    def attach(self, trainer):
        if idist.get_rank() == 0 and not self.copy.exists():
            trainer.add_event_handler(Events.EPOCH_STARTED(once=2), lambda: shutil.copytree(self.folder, self.copy))
        trainer.add_event_handler(Events.COMPLETED, self._save_weights)

    def _save_weights(self, trainer):
        torch.save(trainer.network.state_dict(), self.folder / f"weights_{idist.get_rank()}.pt")


def resume(config_files, run_id="training", **overrides):
    """What `--resume true` does, without starting Python again."""
    workflow = ConfigWorkflow(
        config_file=config_files,
        workflow_type="train",
        logging_file=False,
        run_id=run_id,
        resume=True,
        **{"training": ["@start", "$@session.run()"], **overrides},  # without what the test adds
    )
    workflow.initialize()
    workflow.run()
