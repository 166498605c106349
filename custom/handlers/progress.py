"""Progress of a training stage: a bar on a terminal, or a line at regular intervals in a log."""

from __future__ import annotations

import logging
import sys
import time
from datetime import timedelta

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from tqdm import tqdm

__all__ = ["attach_progress"]

logger = logging.getLogger(__name__)


def attach_progress(
    trainer: Engine, stage: str, log_interval: float = 30.0, evaluator: Evaluator | None = None
) -> None:
    """Show on stderr how far a stage is, its loss, its best validation, its speed and the time left to its end.

    On a terminal this is one bar over all iterations of the stage; Ignite's `ProgressBar` starts a new one with each
    epoch. Elsewhere (a batch job, a file) it is a log line of level INFO. A resumed stage starts at the iteration at
    which it resumes. Speed and time left are averages since then and so include the validations. Under several
    processes only the first one shows its progress.

    Args:
        trainer: engine with `max_epochs` and a known `epoch_length`, whose output is a dictionary with "loss".
        stage: name to show.
        log_interval: seconds between two log lines; the last iteration always has one.
        evaluator: validates during the stage; its state holds the best value of its key metric and the epoch of it.
    """
    if idist.get_rank() > 0:
        return
    display = _Bar(stage, evaluator) if sys.stderr.isatty() else _LogLines(stage, evaluator, log_interval)
    # Not STARTED: a checkpoint may be loaded there, and only afterwards is the iteration the first one of this run.
    trainer.add_event_handler(Events.EPOCH_STARTED, display.start)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, display.update)
    trainer.add_event_handler(Events.COMPLETED, display.close)


class _Bar:
    """One tqdm bar for the whole stage."""

    def __init__(self, stage: str, evaluator: Evaluator | None) -> None:
        self.stage = stage
        self.evaluator = evaluator
        self.bar: tqdm | None = None

    def start(self, engine: Engine) -> None:
        if self.bar is None:
            self.bar = tqdm(
                desc=self.stage,
                total=_total_iterations(engine),
                initial=engine.state.iteration,
                file=sys.stderr,
                dynamic_ncols=True,
                smoothing=0,
            )

    def update(self, engine: Engine) -> None:
        self._describe(engine)
        self.bar.update(engine.state.iteration - self.bar.n)

    def _describe(self, engine: Engine) -> None:
        epoch = f"epoch {engine.state.epoch}/{engine.state.max_epochs}"
        self.bar.set_postfix_str(f"{epoch}, loss {_loss(engine):.4f}{_best(self.evaluator)}", refresh=False)

    def close(self, engine: Engine) -> None:
        if self.bar is not None:
            self._describe(engine)  # the last validation came after the last iteration
            self.bar.close()
        self.bar = None


class _LogLines:
    """A log line of the same content, at most every `interval` seconds."""

    def __init__(self, stage: str, evaluator: Evaluator | None, interval: float) -> None:
        self.stage = stage
        self.evaluator = evaluator
        self.interval = interval
        self.started_at: float | None = None

    def start(self, engine: Engine) -> None:
        if self.started_at is None:
            self.first_iteration = engine.state.iteration
            self.started_at = self.logged_at = time.monotonic()

    def update(self, engine: Engine) -> None:
        state, now, total = engine.state, time.monotonic(), _total_iterations(engine)
        if now - self.logged_at < self.interval and state.iteration != total:
            return
        self.logged_at = now
        rate = (state.iteration - self.first_iteration) / max(now - self.started_at, 1e-9)
        logger.info(
            "%s: epoch %d/%d, iteration %d/%d, loss %.4f%s, %.2f iterations/s, %s left",
            self.stage,
            state.epoch,
            state.max_epochs,
            state.iteration,
            total,
            _loss(engine),
            _best(self.evaluator),
            rate,
            timedelta(seconds=round((total - state.iteration) / rate)),
        )

    def close(self, engine: Engine) -> None:
        if best := _best(self.evaluator):  # the last validation came after the last iteration
            logger.info("%s: finished%s", self.stage, best)
        self.started_at = None


def _total_iterations(engine: Engine) -> int:
    return engine.state.max_epochs * engine.state.epoch_length


def _loss(engine: Engine) -> float:
    return float(engine.state.output["loss"])


def _best(evaluator: Evaluator | None) -> str:
    """The best validation so far; nothing before the first one."""
    state = getattr(evaluator, "state", None)
    if state is None or state.best_metric_epoch < 0:
        return ""
    return f", best {state.key_metric_name} {state.best_metric:.4f} (epoch {state.best_metric_epoch})"
