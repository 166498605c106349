"""Exact resume of one training stage, and its best weights."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Events
from ignite.utils import manual_seed
from monai.engines import Evaluator, Trainer
from torch import nn

from custom.checkpoints import load_checkpoint, save_atomically
from custom.checkpoints.weights import check_finite, check_tensors
from custom.errors import InputError, short_reason
from custom.handlers.stage_state import check_stage_state
from custom.processes import on_first_process

__all__ = ["StageCheckpoint"]


class StageCheckpoint:
    """Saves a stage's newest state and its best weights, and restores both.

    Nothing random is saved: every random number of epoch e follows from (seed, e), which the handler sets when the
    epoch starts. A run resumed after epoch e - 1 therefore equals an uninterrupted one bit for bit on the CPU.
    Attach it after every other handler, so that an epoch's validation and schedule steps are in the file.

    Under several processes the first one saves and all of them restore from its files. Random numbers of the network
    and of the mixing differ from process to process.

    Ignite's `Checkpoint` does not carry this: to keep one file name it removes the old file before it writes the new
    one, so that a full disk leaves none, and it restores the lengths in the file over those of the configuration.
    `DiskSaver(atomic=True)` alone does not wait until the file is on the disk, and saves weights that are not finite.

    Args:
        directory: folder of the files `<stage>_checkpoint.pt` and `<stage>_best.pt`.
        stage: name of the stage.
        trainer: the stage's trainer. Its loader may have `set_epoch`.
        evaluator: the stage's evaluator, whose key metric chooses the best weights; None keeps the newest.
        objects: everything else with a state: optimisers and schedules, by name.
        seed: seed of the stage.
        interval: epochs between two checkpoints. The best weights are saved whenever they improve.
        may_grow: whether the stage may be resumed with more epochs than it was started with.
        data: fingerprint of the data; a stage is not resumed on other data. None compares nothing.
    """

    def __init__(
        self,
        directory: str | Path,
        stage: str,
        trainer: Trainer,
        evaluator: Evaluator | None,
        objects: dict[str, Any],
        seed: int = 0,
        interval: int = 1,
        may_grow: bool = False,
        data: str | None = None,
    ) -> None:
        self.checkpoint_path = Path(directory) / f"{stage}_checkpoint.pt"
        self.best_path = Path(directory) / f"{stage}_best.pt"
        self.stage = stage
        self.trainer = trainer
        self.evaluator = evaluator
        self.objects = objects
        self.seed = seed
        self.interval = interval
        self.may_grow = may_grow
        self.data = data

    def attach(self) -> None:
        """Register the handlers with the trainer."""
        self.trainer.add_event_handler(Events.EPOCH_STARTED, self._seed_epoch)
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    @property
    def finished(self) -> bool:
        """Whether the trainer's epochs are all done."""
        return self.trainer.state.epoch >= self.trainer.state.max_epochs

    def restore(self) -> bool:
        """Put trainer, network, optimisers and schedules into the saved state; False if there is none.

        Raises:
            InputError: the file is unreadable or belongs to another configuration.
        """
        if not self.checkpoint_path.is_file():
            return False
        checkpoint = load_checkpoint(self.checkpoint_path)
        try:
            check_stage_state(checkpoint, self.trainer.state, self.may_grow, self.data)
            self._load(checkpoint)
        except InputError as error:
            raise InputError(f"cannot resume {self.checkpoint_path}: {error}") from error
        return True

    def load_best(self) -> None:
        """Put the best weights of the stage into the network.

        Raises:
            InputError: the file is missing, unreadable, or belongs to another configuration.
        """
        content = load_checkpoint(self.best_path)
        try:
            check_tensors(content["model"])
            _load_network(self.trainer.network, content["model"])
        except (InputError, RuntimeError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.best_path} holds no weights for this network ({short_reason(error)}); start another run_name"
            ) from error

    def _seed_epoch(self) -> None:
        epoch = self.trainer.state.epoch
        manual_seed((self.seed * 1_000_003 + epoch + idist.get_rank() * 2_654_435_761) % 2**32)
        if hasattr(self.trainer.data_loader, "set_epoch"):
            self.trainer.data_loader.set_epoch(epoch)

    def _load(self, checkpoint: dict[str, Any]) -> None:
        lengths = {name: _length(item) for name, item in self.objects.items()}
        try:
            _load_network(self.trainer.network, checkpoint["network"])
            for name, item in self.objects.items():
                item.load_state_dict(checkpoint["objects"][name] | lengths[name])
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            raise InputError(
                f"made with another architecture or optimiser ({short_reason(error)}); resume with the same settings, "
                "or start another run_name"
            ) from error
        self.trainer.load_state_dict(checkpoint["trainer"] | {"max_epochs": self.trainer.state.max_epochs})
        if self.evaluator is not None:
            self.evaluator.state.best_metric, self.evaluator.state.best_metric_epoch = checkpoint["best"]

    def _save(self) -> None:
        on_first_process(self._write)

    def _write(self) -> None:
        network, epoch = self._finite_weights(), self.trainer.state.epoch  # the tensors themselves, no copies
        best = (-1.0, -1) if self.evaluator is None else self._best()
        if self.evaluator is None or best[1] == epoch or (self.finished and best[1] == -1):
            architecture = getattr(self.trainer.network, "architecture", {})
            with getattr(self.trainer, "predicting_weights", nullcontext)():  # of a `MethodTrainer`
                save_atomically({"model": network, "architecture": architecture}, self.best_path)
        if epoch % self.interval == 0 or self.finished:
            content = {
                "network": network,
                "objects": {name: item.state_dict() for name, item in self.objects.items()},
                "trainer": {
                    name: getattr(self.trainer.state, name) for name in ("epoch", "max_epochs", "epoch_length")
                },
                "best": best,
                "data": self.data,
            }
            save_atomically(content, self.checkpoint_path)

    def _finite_weights(self) -> dict[str, Any]:
        """State of the network, which replaces no good file if it holds nan or infinity."""
        network = _network_state(self.trainer.network)
        try:
            check_finite(network)
        except InputError as error:
            raise InputError(
                f"{self.stage}, epoch {self.trainer.state.epoch}: {error}: lower the learning rate, or look for broken "
                "images in the data; the last good checkpoint is kept"
            ) from error
        return network

    def _best(self) -> tuple[float, int]:
        return float(self.evaluator.state.best_metric), int(self.evaluator.state.best_metric_epoch)


def _length(item: Any) -> dict[str, int]:
    """What belongs to this configuration in the state of a schedule: a longer one keeps its own length."""
    return {"cycle_length": item.cycle_length} if hasattr(item, "cycle_length") else {}


def _network_state(network: nn.Module) -> dict[str, Any]:
    """Without what is frozen, where the network names its trainable part."""
    return network.trainable_state_dict() if hasattr(network, "trainable_state_dict") else network.state_dict()


def _load_network(network: nn.Module, state: dict[str, Any]) -> None:
    if hasattr(network, "load_trainable_state_dict"):
        network.load_trainable_state_dict(state)
    else:
        network.load_state_dict(state)
