"""Figures of a training stage: losses, learning rates, speed, memory and validation metrics, sent to a tracker."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.utils import optional_import

from custom.tracking.figures import is_scalar, scalars
from custom.tracking.tracker import ExperimentTracker

__all__ = ["TrackingHandler"]

resource, has_resource = optional_import("resource")  # Windows has none


class TrackingHandler:
    """Ignite handler that writes one stage's figures to the tracker's table and MLflow run.

    Figures are called `<prefix>/<name>` in MLflow; in the table `prefix` is the stage. Their step is the trainer's
    iteration. Under several processes the first one writes, and losses are those of its share of the batch.

    * every `interval` iterations and at the end of an epoch: the mean of each scalar of the trainer's output since
      the figures before, and `learning_rate/<optimiser>`;
    * every epoch: `epoch_seconds` (training alone), `images_per_second`, and `peak_memory_mib`: of the process so
      far, on the GPU if the trainer runs there;
    * every validation: `validation/<metric>`.

    A window ends with its epoch, so that a resumed run has the same figures as an uninterrupted one.

    Args:
        tracker: where to write.
        prefix: the stage.
        interval: iterations between two figures.
    """

    def __init__(self, tracker: ExperimentTracker, prefix: str, interval: int = 10) -> None:
        self.tracker = tracker
        self.prefix = prefix
        self.interval = interval
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, int] = {}
        self._images = 0

    def attach(self, trainer: Engine) -> None:
        """Register with a trainer whose output is a dictionary and whose batches are not decollated.

        The learning rates are those of `trainer.optimizers`, a dictionary, or else of `trainer.optimizer`.
        """
        if idist.get_rank() > 0:
            return
        trainer.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        trainer.add_event_handler(Events.ITERATION_COMPLETED(every=self.interval), self._log_window)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self._log_epoch)
        trainer.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def attach_evaluator(self, evaluator: Engine, trainer: Engine) -> None:
        """Register with the evaluator that runs during the epochs of `trainer`; all its scalar metrics are logged."""
        if idist.get_rank() == 0:
            evaluator.add_event_handler(Events.COMPLETED, self._log_validation, trainer)

    def _start_epoch(self) -> None:
        self._sums, self._counts, self._images = {}, {}, 0

    def _collect(self, trainer: Engine) -> None:
        # Sums stay tensors: turning them into numbers here would make every iteration wait for the GPU.
        for name, value in trainer.state.output.items():
            if is_scalar(value):
                value = value.detach().float() if isinstance(value, torch.Tensor) else value
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1
        self._images += _count_images(trainer.state.batch)

    def _log_window(self, trainer: Engine) -> None:
        if self._sums:
            means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
            self._log(means | _learning_rates(trainer), trainer)
        self._sums, self._counts = {}, {}

    def _log_epoch(self, trainer: Engine) -> None:
        self._log_window(trainer)
        seconds = trainer.state.times[Events.EPOCH_COMPLETED.name]
        images = self._images * idist.get_world_size()  # all processes have batches of one size
        figures = {"epoch_seconds": seconds, "images_per_second": images / max(seconds, 1e-9)}
        self._log(figures | _peak_memory(getattr(trainer.state, "device", None)), trainer)

    def _log_validation(self, evaluator: Engine, trainer: Engine) -> None:
        self._log({"validation": evaluator.state.metrics}, trainer)

    def _log(self, figures: Mapping[str, Any], trainer: Engine) -> None:
        state, values = trainer.state, dict(scalars(figures))
        self.tracker.table.append(state.iteration, state.epoch, self.prefix, values)
        self.tracker.log_metrics({self.prefix: values}, state.iteration)

    def _fail(self, _: Engine, error: BaseException) -> None:
        self.tracker.fail(error)
        raise error  # Ignite drops an exception for which there is a handler


def _learning_rates(trainer: Engine) -> dict[str, float]:
    """`learning_rate/<optimiser>`, followed by the group's name or number where there are several groups."""
    optimizers = getattr(trainer, "optimizers", None)
    if optimizers is None:
        optimizers = {"network": trainer.optimizer} if hasattr(trainer, "optimizer") else {}
    rates = {}
    for name, optimizer in optimizers.items():
        groups = optimizer.param_groups
        for number, group in enumerate(groups):
            suffix = f"/{group.get('name', number)}" if len(groups) > 1 else ""
            rates[f"learning_rate/{name}{suffix}"] = float(group["lr"])
    return rates


def _count_images(batch: Any) -> int:
    """Images in a batch: a dictionary with "image" [B, ...], or a dictionary or sequence of such."""
    if isinstance(batch, Mapping):
        return len(batch["image"]) if "image" in batch else sum(map(_count_images, batch.values()))
    return sum(map(_count_images, batch)) if isinstance(batch, (list, tuple)) else 0


def _peak_memory(device: torch.device | None) -> dict[str, float]:
    """Most memory held so far, MiB: on the GPU by PyTorch, or by the process; empty where it cannot be known."""
    if device is not None and device.type == "cuda":
        return {"peak_memory_mib": torch.cuda.max_memory_allocated(device) / 2**20}
    if not has_resource:
        return {}
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory_mib": size / 2**20 if sys.platform == "darwin" else size / 2**10}
