"""The same test images under every method, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from monai.bundle import ConfigParser
from PIL import Image
from torch import Tensor

import custom
from custom.benchmark.results import Result
from custom.data import read_facts
from custom.drawing.outlines import draw_classes, draw_contour, draw_truth
from custom.drawing.palette import TRUTH_COLOUR
from custom.drawing.sheet import captioned_row, sheet
from custom.drawing.tiles import tile
from custom.files import short_names
from custom.labels.codec import LabelCodec

__all__ = ["PERCENTILES", "choose_images", "draw_pictures", "predict"]

PERCENTILES = (10, 30, 50, 70, 90)
TILE_SIZE = 190

# Keys of evaluate.yaml, with those of train.yaml. The model.pt itself holds its image size and order of colours.
_SETTINGS_OF_EVALUATION = {"resize#mode": "validate#resize#mode", "amp": "amp", "device": "device"}


def choose_images(dice_by_image: Sequence[Mapping[str, float]], percentiles: Sequence[int] = PERCENTILES) -> list[str]:
    """Images that favour no method: those nearest to percentiles of the mean Dice over the methods.

    Args:
        dice_by_image: file -> Dice, one mapping per method; files that one of them lacks are left out.
        percentiles: which images; nearest first, no image twice, ties by name.
    """
    files = sorted(set.intersection(*(set(scores) for scores in dice_by_image)))
    means = {file: mean(scores[file] for scores in dice_by_image) for file in files}
    chosen: list[str] = []
    for target in np.percentile(list(means.values()), percentiles[: len(files)]):
        rest = [file for file in files if file not in chosen]
        chosen.append(min(rest, key=lambda file: abs(means[file] - target)))
    return chosen


def draw_pictures(
    results: Mapping[str, Result],
    bundle: Path,
    dataset_dir: Path,
    datalist: Path,
    settings: Mapping[str, Any],
    path: Path,
    title: str = "",
) -> None:
    """Write a PNG with a row per image: the image, its truth, and the prediction of every method with its Dice.

    Predictions are made as the bundle's `evaluate.yaml` makes them.

    Args:
        results: method -> one finished run.
        bundle: folder of the bundle.
        dataset_dir: folder of the data.
        datalist: its datalist.
        settings: the protocol, of which the settings of evaluation are used.
        path: the file.
        title: heading of the sheet.
    """
    files = choose_images([result.dice_by_image for result in results.values()])
    cells: dict[str, list[tuple[Image.Image, str]]] = {file: [] for file in files}
    num_classes = read_facts(datalist).num_classes
    for method, result in results.items():
        predictions = predict(result.folder / "model.pt", files, bundle, dataset_dir, datalist, settings)
        for file, (image, truth, labels) in predictions.items():
            scene = tile(image, TILE_SIZE)
            if not cells[file]:
                cells[file] += [(scene, file), (draw_truth(scene, truth, num_classes), "truth")]
            ground = draw_contour(scene, truth == 1, TRUTH_COLOUR, width=1) if num_classes == 2 else scene
            drawn = draw_classes(ground, labels, num_classes)
            cells[file].append((drawn, f"{method} · {result.dice_by_image[file]:.1%}"))
    rows = [captioned_row(*zip(*cells[file], strict=True)) for file in files]
    shown = ", ".join(str(percentile) for percentile in PERCENTILES[: len(files)])
    rule = f"images nearest to percentiles {shown} of the mean Dice over the methods; numbers are Dice"
    sheet(rows, title, rule).save(path)


def predict(
    model: Path, files: Sequence[str], bundle: Path, dataset_dir: Path, datalist: Path, settings: Mapping[str, Any]
) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Test images, their truth and the labels of the model, with the preprocessing of the bundle's `evaluate.yaml`.

    Args:
        model: a `model.pt`.
        files: names of test images, as `per_image.csv` has them.
        bundle: see `draw_pictures`, as for all further arguments.
        dataset_dir: folder of the data.
        datalist: its datalist.
        settings: the protocol.

    Returns:
        file -> (image [3, W, H] in [0, 1], class indices [W, H] of the truth, and of the prediction).
    """
    parser = ConfigParser(globals={"custom": custom})
    parser.read_config(str(bundle / "configs" / "evaluate.yaml"))
    given = {"bundle_root": bundle, "dataset_dir": dataset_dir, "datalist": datalist, "checkpoint": model}
    for key, value in given.items():
        parser[key] = str(value)
    for key, name in _SETTINGS_OF_EVALUATION.items():
        if name in settings:
            parser[key] = settings[name]
    dataset, network, inferer = (parser.get_parsed_content(key) for key in ("dataset", "network", "inferer"))
    places = {name: index for index, name in enumerate(short_names([item["image"] for item in dataset.data]))}
    predictions = {}
    for file in files:
        item = dataset[places[file]]
        image, truth = item["image"].as_tensor(), item["label"].as_tensor()[0]
        with torch.no_grad():
            soft = inferer(image[None].to(next(network.parameters()).device), network)[0, 0]
        predictions[file] = image, truth, LabelCodec.harden(soft.cpu())
    return predictions
