"""What is recorded of a training: in `model.pt`, in reports and in MLflow."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import ignite.distributed as idist
from torch import nn

from custom.data import data_fingerprint
from custom.methods import MethodTrainer

__all__ = ["describe_in_words", "describe_run", "first_stage_name", "plain_settings"]

logger = logging.getLogger(__name__)

Data = Mapping[str, Sequence[Mapping[str, str]]]


def describe_run(
    details: Mapping[str, Any], trainers: Mapping[str, MethodTrainer], data: Data | None = None
) -> dict[str, Any]:
    """The settings of a run with what follows from its parts.

    Args:
        details: settings as they were given. "first_stage" becomes the name of a folder or hub id, or "none" where the
            network has no first stage.
        trainers: the trainers by stage, in order.
        data: the images by split, as `load_datalist` returns them.

    Returns:
        `details`, and "labelled" and "unlabelled" (numbers of images), the epochs of each stage, "data" (a
        fingerprint), and under several processes the size of a step of all of them.
    """
    described = dict(details)
    if "first_stage" in described:
        network = next(iter(trainers.values())).network
        described["first_stage"] = first_stage_name(described["first_stage"], network)
    if data is not None:
        described |= {split: len(data[split]) for split in ("labelled", "unlabelled")}
    described |= {f"{name}_epochs": trainer.state.max_epochs for name, trainer in trainers.items()}
    if data is not None:
        described["data"] = data_fingerprint(data)
    return described | _batches_of_all_processes(trainers)


def plain_settings(configuration: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """The top-level values of a configuration that are one value, without those that are still an expression.

    >>> from custom.engines.details import plain_settings
    >>> plain_settings({"seed": 42, "run_name": "$str(@seed)", "data": {"labelled": "10%"}, "amp": False})
    {'seed': 42, 'amp': False}
    """
    return {
        name: value
        for name, value in configuration.items()
        if isinstance(value, (int, float)) or (isinstance(value, str) and not value.startswith(("$", "@")))
    }


def describe_in_words(details: Mapping[str, Any]) -> str:
    """One line of the method, preset, size and numbers of images that `describe_run` gives.

    >>> from custom.engines.details import describe_in_words
    >>> describe_in_words({"method": "cps", "preset": "practical", "image_size": 224, "labelled": 5, "unlabelled": 20})
    'cps, preset practical, 224 pixels, 5 labelled and 20 unlabelled images'
    """
    words = [str(details["method"])] if "method" in details else []
    words += [f"preset {details['preset']}"] if "preset" in details else []
    words += [f"{details['image_size']} pixels"] if "image_size" in details else []
    if "labelled" in details:
        words.append(f"{details['labelled']} labelled and {details['unlabelled']} unlabelled images")
    return ", ".join(words)


def first_stage_name(first_stage: Any, network: nn.Module) -> str:
    """Name of a folder or file without what is above it, or a hub id; "none" where the network has no first stage."""
    if not hasattr(network, "first_stage"):
        return "none"
    name = str(first_stage)
    return os.path.basename(os.path.abspath(name)) if os.path.exists(name) else name


def _batches_of_all_processes(trainers: Mapping[str, MethodTrainer]) -> dict[str, str]:
    """What a step means under several processes, to be recorded and logged; empty for one process."""
    processes = idist.get_world_size()
    if processes == 1:
        return {}
    described: dict[str, Any] = {"processes": processes}
    for name, trainer in trainers.items():
        loader = trainer.data_loader
        labelled, unlabelled = loader.labelled_batch_size, loader.unlabelled_batch_size
        images = processes * (labelled + unlabelled)
        batch = f"{processes} x ({labelled} labelled + {unlabelled} unlabelled) = {images} images"
        logger.info("%s: a step of all processes takes %s", name, batch)
        described[f"{name}_global_batch"] = batch
    return described
