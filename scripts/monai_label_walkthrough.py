"""Annotation, training and choice of the next images with a real MONAI Label server; known masks are the annotations.

python -m scripts.monai_label_walkthrough --bundle bundles/semigda_busi --dataset-dir data/busi \
    --first-stage FIRST_STAGE --output walkthrough

Three arms see the same images and start with the same labels. "disagreement" lets the server choose what to label
next, "random" draws it, and "labels only" gets the labels of "disagreement" but trains without the other images. After
each training the server predicts the test images. Runs in the environment of MONAI Label.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from PIL import Image
from tqdm import tqdm

from custom.command_line import BUNDLE, SEED, Command, PathOrId, PathTo, WholeNumber, run_command
from custom.data import load_datalist
from custom.errors import InputError
from custom.metrics import bootstrap_interval
from custom.monai_label.command import add_bundle
from custom.pixels import read_class_indices
from custom.tables import append_csv
from scripts.label_server import LabelServer

if TYPE_CHECKING:
    from monailabel.client import MONAILabelClient

__all__ = ["Walkthrough", "main"]

ARMS = ("disagreement", "random", "labels only")
POLL = 1.0  # seconds between two requests for the status


class Walkthrough:
    """The three arms over one data set.

    Args:
        output: folder to make; holds an app and a datastore for each arm, and the results.
        bundle: folder of the bundle.
        settings: of the untrained model, see `add_bundle`.
        pool: items with "image" and "label", which become the datastore; its labels are given in rounds.
        test: items with "image" and "label".
        requests: what each training request contains.
        start: labels of the first round, drawn with `seed`.
        add: labels that each further round adds.
        rounds: trainings of each arm.
        seed: of the first labels and of the training.
    """

    def __init__(
        self,
        output: Path,
        bundle: Path,
        settings: dict[str, Any],
        pool: Sequence[dict[str, str]],
        test: Sequence[dict[str, str]],
        requests: dict[str, Any],
        start: int = 8,
        add: int = 8,
        rounds: int = 2,
        seed: int = 0,
    ) -> None:
        if start + (rounds - 1) * add > len(pool):
            raise InputError(f"{len(pool)} images are too few for {start} + {rounds - 1} x {add} labels: give --images")
        self.output, self.bundle, self.settings = output, bundle, settings
        self.model = bundle.resolve().name
        self.labels = {f"image_{number:04d}": item["label"] for number, item in enumerate(pool)}
        self.images = {name: item["image"] for name, item in zip(self.labels, pool, strict=True)}
        self.test = test
        self.request = {"device": "cpu", "multi_gpu": False, "val_split": 0, "seed": seed, **requests}
        self.add, self.rounds = add, rounds
        self.first = random.Random(seed).sample(sorted(self.images), start)
        self.rows: list[dict[str, Any]] = []

    def run(self) -> list[dict[str, Any]]:
        """Run all arms; returns one row for each arm, round and test image, which are in `scores.csv` too."""
        self._prepare("disagreement")
        asked: list[list[str]] = [self.first]
        with self._server("disagreement") as server:
            self._label(server, self.first)
            self._train(server, "disagreement", 1, {})
            self._predict_the_rest(server)
        self._copy("disagreement", "random")
        with self._server("disagreement") as server:
            for number in range(2, self.rounds + 1):
                asked.append(self._ask(server, "disagreement"))
                self._label(server, asked[-1])
                self._train(server, "disagreement", number, {})
        for row in [row for row in self.rows if row["round"] == 1]:
            self._add_row({**row, "arm": "random"})
        with self._server("random") as server:
            for number in range(2, self.rounds + 1):
                self._label(server, self._ask(server, "random"))
                self._train(server, "random", number, {})
        self._prepare("labels only")
        with self._server("labels only") as server:
            for number, images in enumerate(asked, start=1):
                self._label(server, images)
                self._train(server, "labels only", number, {"use_unlabelled": False})
        return self.rows

    def _folder(self, arm: str) -> Path:
        return self.output / arm.replace(" ", "_")

    def _prepare(self, arm: str) -> None:
        folder = self._folder(arm)
        (folder / "studies").mkdir(parents=True)
        for name, image in self.images.items():
            suffix = {".jpeg": ".jpg", ".tiff": ".tif"}.get(Path(image).suffix.lower(), Path(image).suffix.lower())
            shutil.copyfile(image, folder / "studies" / f"{name}{suffix}")
        add_bundle(self.bundle, folder / "app", settings=self.settings)

    def _copy(self, arm: str, other: str) -> None:
        shutil.copytree(self._folder(arm), self._folder(other))

    def _server(self, arm: str) -> LabelServer:
        return LabelServer(self._folder(arm) / "app", self._folder(arm) / "studies")

    def _label(self, server: LabelServer, images: Sequence[str]) -> None:
        from monailabel.client import MONAILabelClient

        client = MONAILabelClient(server.url)
        for image in images:
            client.save_label(image, self.labels[image], tag="final")

    def _train(self, server: LabelServer, arm: str, number: int, request: dict[str, Any]) -> None:
        from monailabel.client import MONAILabelClient

        start = time.monotonic()
        answers = self._folder(arm) / "answers"  # the server deletes what it sent from its own temporary folder
        client = MONAILabelClient(server.url, tmpdir=str(answers))
        client.train_start(self.model, {**self.request, **request})
        self._wait_for(lambda: client.train_status()["status"] not in ("SUBMITTED", "RUNNING"))
        status = client.train_status()
        if status["status"] != "DONE":
            raise InputError(f"{arm}, round {number}: training failed: {status['details'][-1]}")
        seconds = time.monotonic() - start
        labels = server.get("/info/")["datastore"]["completed"]
        for item in tqdm(self.test, f"{arm}, round {number}: test", disable=None):
            dice = self._dice(client, item)
            self._add_row(
                {"arm": arm, "round": number, "labels": labels, "image": Path(item["image"]).name, "dice": dice}
            )
        mean = np.mean([row["dice"] for row in self.rows if (row["arm"], row["round"]) == (arm, number)])
        print(f"{arm}, round {number}: {labels} labels, trained in {seconds:.0f} s, test Dice {mean:.3f}", flush=True)

    def _add_row(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        append_csv(self.output / "scores.csv", [row])

    def _dice(self, client: MONAILabelClient, item: dict[str, str]) -> float:
        """Dice of the foreground at the image's own size; 1 where truth and answer are both empty."""
        answer, _ = client.infer(self.model, "", {"device": "cpu"}, file=item["image"])
        predicted = np.asarray(Image.open(answer)) > 0
        Path(answer).unlink()
        truth = np.asarray(read_class_indices(item["label"], None)) > 0
        total = predicted.sum() + truth.sum()
        return float(2 * (predicted & truth).sum() / total) if total else 1.0

    def _predict_the_rest(self, server: LabelServer) -> None:
        """Store preliminary masks of all images without a label, as an annotator would want to see them."""
        server.post(f"/batch/infer/{self.model}?images=unlabeled&run_sync=true", {"device": "cpu", "multi_gpu": False})
        status = server.get("/info/")["datastore"]
        unlabelled = status["total"] - status["completed"]
        if status["label_tags"].get("original") != unlabelled:
            raise InputError(f"{unlabelled} images have no label, but predictions are stored as {status['label_tags']}")

    def _ask(self, server: LabelServer, strategy: str) -> list[str]:
        """Ask for as many different images as a round adds, one after the other."""
        if strategy == "disagreement":
            server.score(self.model)
        images: dict[str, str] = {}
        while len(images) < self.add:  # "random" may draw the same image twice
            answer = server.post(f"/activelearning/{strategy}")
            images[answer["id"]] = answer.get("reason", "")
        print(json.dumps({strategy: images}), flush=True)
        return list(images)

    @staticmethod
    def _wait_for(is_finished: Callable[[], bool]) -> None:
        while not is_finished():
            time.sleep(POLL)


def format_results(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table: labels, mean Dice and its 95 % bootstrap interval over the test images, of each arm."""
    rounds = sorted({row["round"] for row in rows})
    labels = {row["round"]: row["labels"] for row in rows}
    lines = [f"| | {' | '.join(f'{labels[number]} labels' for number in rounds)} |", "|---" * (len(rounds) + 1) + "|"]
    for arm in ARMS:
        cells = []
        for number in rounds:
            values = [100 * row["dice"] for row in rows if (row["arm"], row["round"]) == (arm, number)]
            low, high = bootstrap_interval(values)
            cells.append(f"{np.mean(values):.1f} [{low:.1f}, {high:.1f}]")
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_results(rows: Sequence[dict[str, Any]], output: Path) -> None:
    """Write a PNG: mean test Dice over the number of labels, a line for each arm, with bootstrap intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained", dpi=110)
    axes = figure.subplots()
    for offset, arm in enumerate(ARMS):
        points = sorted({(row["round"], row["labels"]) for row in rows if row["arm"] == arm})
        values = [[row["dice"] for row in rows if (row["arm"], row["round"]) == (arm, n)] for n, _ in points]
        means = np.array([np.mean(group) for group in values])
        bounds = np.array([bootstrap_interval(group) for group in values]).T
        x = np.array([labels for _, labels in points]) + 0.15 * (offset - 1)
        axes.errorbar(x, means, np.abs(bounds - means), marker="o", capsize=3, label=arm)
    axes.set_xticks(sorted({row["labels"] for row in rows}))
    axes.set_xlabel("labels")
    axes.set_ylabel("test Dice")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(output)


_COUNT = WholeNumber(1, 1_000_000)


@click.command(cls=Command, help=__doc__.splitlines()[0])
@click.option("--bundle", type=BUNDLE, required=True, metavar="DIR")
@click.option(
    "--dataset-dir", type=PathTo("folder"), required=True, metavar="DIR", help="Prepared data with datalist.json."
)
@click.option("--output", type=PathTo("folder", new=True), required=True, metavar="DIR", help="Folder to make.")
@click.option("--first-stage", type=PathOrId(), required=True, metavar="PATH_OR_ID")
@click.option("--image-size", type=WholeNumber(8, 4096), default=64, metavar="PIXELS")
@click.option("--width", type=WholeNumber(1, 1024), default=32, metavar="N")
@click.option("--mapper-width", type=WholeNumber(1, 1024), default=32, metavar="N")
@click.option("--images", type=_COUNT, metavar="N", help="Training images, drawn with the seed (default: all).")
@click.option("--test", type=_COUNT, metavar="N", help="Test images, the first of the list (default: all).")
@click.option("--start", type=_COUNT, default=8, metavar="N", help="Labels of the first round (default: 8).")
@click.option("--add", type=_COUNT, default=8, metavar="N", help="Labels that each further round adds (default: 8).")
@click.option("--rounds", type=_COUNT, default=2, metavar="N", help="Trainings of each arm (default: 2).")
@click.option("--epochs", type=_COUNT, default=50, metavar="N")
@click.option("--alignment-epochs", type=_COUNT, metavar="N")
@click.option("--seed", type=SEED, default=0, metavar="N")
def command(bundle: Path, dataset_dir: Path, output: Path, **options: Any) -> None:
    """Run all arms and write the results."""
    if output.exists():
        raise InputError(f"--output {output} is there already: name a new folder")
    data = load_datalist(dataset_dir / "datalist.json", dataset_dir, "all", use_unlabelled=False)
    pool = data["labelled"]
    if options["images"]:
        pool = random.Random(options["seed"]).sample(pool, min(options["images"], len(pool)))
    requests = {"max_epochs": options["epochs"]}
    if options["alignment_epochs"]:
        requests["alignment_epochs"] = options["alignment_epochs"]
    walkthrough = Walkthrough(
        output,
        bundle,
        {key: options[key] for key in ("first_stage", "image_size", "width", "seed")}
        | {"network_def#mapper_width": options["mapper_width"]},
        pool,
        data["test"][: options["test"]],
        requests,
        options["start"],
        options["add"],
        options["rounds"],
        options["seed"],
    )
    output.mkdir(parents=True)
    rows = walkthrough.run()
    table = format_results(rows)
    (output / "results.md").write_text(table + "\n")
    draw_results(rows, output / "results.png")
    print(f"\n{table}\n\nresults: {output}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    run_command(command, arguments, "python -m scripts.monai_label_walkthrough")


if __name__ == "__main__":
    main()
