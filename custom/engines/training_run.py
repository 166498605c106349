"""One training run: stages in order, resumable, tracked, evaluated at the end."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.engines import Evaluator
from torch import nn

from custom.checkpoints import load_checkpoint
from custom.data.datalist import files_in_use
from custom.engines.details import describe_in_words, describe_run, plain_settings
from custom.error_hook import advise_after_interrupt
from custom.errors import InputError
from custom.files import write_whole
from custom.handlers import (
    EvaluationReport,
    PanelSaver,
    StageCheckpoint,
    TrackingHandler,
    attach_progress,
)
from custom.methods import MethodTrainer
from custom.metrics import format_summary, main_figures
from custom.networks import load_trained_weights, save_model
from custom.processes import on_first_process
from custom.runs.folders import keep
from custom.runs.lock import unlock_folder
from custom.tracking import ExperimentTracker

__all__ = ["Stage", "Test", "TrainingRun"]

logger = logging.getLogger("custom.training_run")


class Stage(NamedTuple):
    """A part of a training: a trainer, and what belongs to it.

    Attributes:
        trainer: the trainer.
        evaluator: validates during the stage and chooses its best weights; None keeps the newest.
        panels: pictures of fixed validation images; None for none.
    """

    trainer: MethodTrainer
    evaluator: Evaluator | None = None
    panels: PanelSaver | None = None


class Test(NamedTuple):
    """What evaluates the test images after the training.

    Attributes:
        evaluator: runs the network over them.
        report: its handler, which gets the details of the run.
    """

    __test__ = False  # no test of pytest
    evaluator: Evaluator
    report: EvaluationReport


class TrainingRun:
    """Runs stages one after the other in one folder and one MLflow run.

    Each stage starts from the best weights of the one before. After the last one the best weights become `model.pt`,
    the test images are evaluated, and a closing summary lists all files.

    Under several processes each has a run of its own in the same folder, and only the first one writes and prints.

    Args:
        output_dir: folder of the run; everything is written below it.
        stages: the stages by name, in order. One that is None is left out, and the seeds of the others stay.
        tracker: the MLflow tracker; disabled or not.
        details: settings to record, completed by `describe_run`.
        data: the images by split, as `load_datalist` returns them.
        resume: continue where the run in `output_dir` stopped.
        seed: seed of the run.
        checkpoint_interval: epochs between two checkpoints.
        initial_weights: a `model.pt` or best-weights file to start from; None for the weights that the network has.
        test: evaluator of the test images and its report; None or no test image: no evaluation.
        save: called with the trained network, the folder and the details; None writes `model.pt`.

    Raises:
        InputError: there is no stage.
    """

    def __init__(
        self,
        output_dir: str | Path,
        stages: Mapping[str, Stage | None],
        tracker: ExperimentTracker,
        details: Mapping[str, Any] | None = None,
        data: Mapping[str, Sequence[Mapping[str, str]]] | None = None,
        resume: bool = False,
        seed: int = 0,
        checkpoint_interval: int = 1,
        initial_weights: str | Path | None = None,
        test: Test | None = None,
        save: Callable[[nn.Module, Path, dict[str, Any]], None] | None = None,
    ) -> None:
        self.output_dir = Path(output_dir)
        stages = stages if isinstance(stages, Mapping) else {}
        self.stages = {name: stage for name, stage in stages.items() if stage is not None}
        if not self.stages:
            raise InputError("session#stages names no stage to train; leave one, such as segmentation")
        self.tracker = tracker
        trainers = {name: stage.trainer for name, stage in self.stages.items()}
        self.data = data
        self.details = describe_run(details or {}, trainers, data)
        self.resume = resume
        self.seed = seed
        self.initial_weights = initial_weights
        self.test = test
        self.save = save or (lambda network, folder, details: save_model(network, folder / "model.pt", details))
        self.checkpoints = {
            name: StageCheckpoint(
                self.output_dir / "checkpoints",
                name,
                stage.trainer,
                stage.evaluator,
                stage.trainer.stateful_objects(),
                seed=(seed + index) % 2**32,
                interval=checkpoint_interval,
                may_grow=index == len(stages) - 1,
                data=self.details.get("data"),
            )
            for index, (name, stage) in enumerate(stages.items())
            if stage is not None
        }
        self.finished_file = self.output_dir / "finished.json"

    def run(self, stages: Sequence[str] | None = None) -> dict[str, Any]:
        """Run the named stages (all by default) and return the test summary, empty without test images.

        Raises:
            InputError: something given is wrong, before or during training; checkpoints are kept.
        """
        stages = list(stages or self.stages)
        if unknown := [name for name in stages if name not in self.stages]:
            raise InputError(f"this method has no stage {unknown[0]!r}: its stages are {', '.join(self.stages)}")
        self._check_start(self.stages[stages[0]].trainer.network)
        keep(self.output_dir)
        advise_after_interrupt(f"interrupted; continue with --resume true and the same options: {self.output_dir}")
        try:
            if (summary := self._finished_summary(stages)) is None:
                summary = self._train(stages)
        finally:
            unlock_folder(self.output_dir)  # which the first process holds
        advise_after_interrupt()
        return summary

    def _check_start(self, network: nn.Module) -> None:
        """Refuse what the first step would refuse, before the folder of the run is kept."""
        if self.initial_weights and not self.resume:
            load_checkpoint(self.initial_weights)
        size, check_size = self.details.get("image_size"), getattr(network, "check_size", None)
        if size is not None and check_size is not None:
            check_size(torch.empty(1, 3, size, size, device="meta"))

    def _finished_summary(self, stages: list[str]) -> dict[str, Any] | None:
        """The test summary of a run that was resumed after its end; None if there is something to do."""
        if not self.resume or not self.finished_file.is_file():
            return None
        finished = json.loads(self.finished_file.read_text())
        last = stages[-1]
        epochs = self.stages[last].trainer.state.max_epochs
        if finished["stages"] != stages or finished.get("epochs", {}).get(last, epochs) < epochs:
            return None
        if idist.get_rank() == 0:
            print(f"{self.output_dir} is finished; nothing to do")
        return finished["summary"]

    def _train(self, stages: list[str]) -> dict[str, Any]:
        with self.tracker:
            on_first_process(self._start_tracking)
            previous = None
            for name in stages:
                self._run_stage(name, previous)
                previous = name
            checkpoint = self.checkpoints[stages[-1]]
            checkpoint.load_best()
            network = checkpoint.trainer.network
            on_first_process(self.save, network, self.output_dir, self.details)
            summary = self._evaluate(stages[-1])
            epochs = {name: self.stages[name].trainer.state.max_epochs for name in stages}
            finished = json.dumps({"stages": stages, "epochs": epochs, "summary": summary}, indent=1).encode()
            on_first_process(write_whole, self.finished_file, finished)
            on_first_process(self._track_results)
        if idist.get_rank() == 0:
            self._print_summary(summary)
        return summary

    def _start_tracking(self) -> None:
        """Open the MLflow run, with all settings that are one value, the configuration and the data."""
        config, details = self.output_dir / "config.json", self.details  # the file is written by the command line
        settings = plain_settings(json.loads(config.read_text())) if config.is_file() else {}
        tags = {"mlflow.note.content": describe_in_words(details), "mlflow.source.name": "monai.bundle run"}
        self.tracker.start(settings | details, config if config.is_file() else None, tags)
        if self.data is not None:
            files = [path for split in self.data for item in files_in_use(self.data, split) for path in item.values()]
            folder = os.path.commonpath([os.path.dirname(path) for path in files])
            images = {split: len(items) for split, items in self.data.items()}
            self.tracker.log_dataset(os.path.basename(folder) or folder, details["data"], folder, images)

    def _track_results(self) -> None:
        for name in ("summary.json", "per_image.csv", "cases.png"):
            if (path := self.output_dir / "evaluation" / name).is_file():
                self.tracker.log_artifact(path, "results")
        if (path := self.output_dir / "model.pt").is_file():
            self.tracker.log_model(path)

    def _run_stage(self, name: str, previous: str | None) -> None:
        stage, checkpoint = self.stages[name], self.checkpoints[name]
        tracking = TrackingHandler(self.tracker, name)
        restored = self.resume and checkpoint.restore()
        if restored and checkpoint.finished:
            logger.info("%s: finished before, epoch %d", name, stage.trainer.state.epoch)
            return
        if not restored:
            self._load_start(name, previous)
        self.tracker.truncate(name, stage.trainer.state.iteration)
        attach_progress(stage.trainer, name, evaluator=stage.evaluator)
        tracking.attach(stage.trainer)
        if stage.evaluator is not None:
            if (average := stage.trainer.average) is not None:
                stage.evaluator.add_event_handler(Events.STARTED, average.exchange)
                stage.evaluator.add_event_handler(Events.COMPLETED, average.exchange)
            tracking.attach_evaluator(stage.evaluator, stage.trainer)
            if stage.panels is not None:
                stage.panels.attach(stage.evaluator, stage.trainer)
        checkpoint.attach()
        for engine in (stage.trainer, stage.evaluator):
            if engine is not None:
                engine.logger.setLevel(logging.CRITICAL)  # Ignite logs every epoch, and errors with all their text
        stage.trainer.run()

    def _load_start(self, name: str, previous: str | None) -> None:
        """Weights that a stage starts from: the best of the stage before it, or those given, or the network's own."""
        names = list(self.stages)
        before = names[names.index(name) - 1] if names.index(name) else None
        if previous is not None:
            self.checkpoints[previous].load_best()
        elif self.initial_weights:
            load_trained_weights(self.stages[name].trainer.network, self.initial_weights)
        elif before is not None and self.resume and self.checkpoints[before].best_path.is_file():
            self.checkpoints[before].load_best()
        elif before is not None:
            logger.info(
                "%s starts from the weights that the network has: %s was not run in %s", name, before, self.output_dir
            )

    def _evaluate(self, stage: str) -> dict[str, Any]:
        if self.test is None or len(self.test[0].data_loader) == 0:
            return {}
        evaluator, report = self.test
        report.details = self.details
        if evaluator.network is not self.stages[stage].trainer.network:
            raise InputError("test#evaluator must use the network that is trained")
        evaluator.logger.setLevel(logging.CRITICAL)
        evaluator.run()
        self.tracker.log_metrics({"test": main_figures(report.summary)}, self.stages[stage].trainer.state.iteration)
        return report.summary

    def _print_summary(self, summary: dict[str, Any]) -> None:
        lines = [""]
        if summary:
            lines += [f"test images: {summary['images']}", format_summary(summary), ""]
        lines.append(f"run:         {self.output_dir}")
        for label, name in (
            ("model", "model.pt"),
            ("model", "first_stage"),
            ("evaluation", "evaluation"),
            ("curves", "metrics.csv"),
            ("pictures", "panels"),
            ("MLflow", "mlruns.db"),
        ):
            if (self.output_dir / name).exists():
                lines.append(f"{label + ':':12s} {self.output_dir / name}")
        print("\n".join(lines))
