"""Small trainings that a tracker follows, and what it has written about them."""

from __future__ import annotations

import csv

import torch
from monai.engines import SupervisedTrainer

from custom.handlers import TrackingHandler


class CountingTrainer(SupervisedTrainer):
    """A trainer whose loss is the number of its iteration; `fails_at` ends it there with `error`."""

    def __init__(self, max_epochs=2, epoch_length=3, fails_at=None, error=None, **options):
        network = torch.nn.Linear(1, 1)
        batches = [{"labelled": {"image": torch.zeros(2, 3)}, "unlabelled": {"image": torch.zeros(4, 3)}}]
        super().__init__(
            device=torch.device("cpu"),
            max_epochs=max_epochs,
            train_data_loader=batches * epoch_length,
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.5),
            loss_function=None,
            decollate=False,
            **options,
        )
        self.fails_at = fails_at
        self.error = error

    def _iteration(self, engine, batchdata):
        if engine.state.iteration == self.fails_at:
            raise self.error
        iteration = float(engine.state.iteration)
        return {"loss": iteration, "term": torch.tensor(10 * iteration), "pred": torch.zeros(2, 1)}

    def continue_after(self, iteration):
        self.load_state_dict(
            {"iteration": iteration, "max_epochs": self.state.max_epochs, "epoch_length": self.state.epoch_length}
        )


def train(tracker, trainer, stage="alignment", interval=2) -> None:
    TrackingHandler(tracker, stage, interval).attach(trainer)
    trainer.run()


def figures(tracker, name, stage="alignment") -> list[tuple[int, float]]:
    """Steps and values of one figure in the table."""
    with tracker.table.path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["stage"], row["name"]) == (stage, name)]
    return [(int(row["step"]), float(row["value"])) for row in rows]


def client_of(tracker):
    import mlflow

    return mlflow.MlflowClient(tracking_uri=tracker.tracking_uri)


def history(tracker, name, run_id=None) -> list[tuple[int, float]]:
    """Steps and values of one figure in MLflow."""
    metrics = client_of(tracker).get_metric_history(run_id or tracker.run_id, name)
    return [(metric.step, metric.value) for metric in metrics]


def artifacts(tracker, folder) -> list[str]:
    return [file.path for file in client_of(tracker).list_artifacts(tracker.run_id, folder)]
