"""What trained networks say of the unlabelled images, written once before another network learns it."""

from __future__ import annotations

import io
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.transforms import Resize
from torch import Tensor, nn
from torch.nn.functional import interpolate
from tqdm import tqdm

from custom.data.fingerprint import data_fingerprint
from custom.errors import InputError
from custom.files import file_digest, write_whole
from custom.inferers.class_probabilities import class_probabilities
from custom.inferers.soft_dice_confidence import soft_dice_confidence
from custom.networks import load_model, model_details
from custom.processes import on_first_process
from custom.transforms import LoadImageAndLabeld

__all__ = ["Teacher", "add_soft_labels", "predict_flipped"]

logger = logging.getLogger(__name__)

DEFAULT_SIZE = 224  # of models whose details do not say, as in inference.yaml


class Teacher(NamedTuple):
    """A trained network and how its images must look.

    Attributes:
        network: in evaluation mode.
        image_size: side in pixels of the square that it was trained on.
        bgr: whether it was trained with the colours in the order blue, green, red.
    """

    network: nn.Module
    image_size: int
    bgr: bool

    def predict(self, image: Tensor, flips: bool, size: int) -> Tensor:
        """An image [3, W, H] in [0, 1] as it was read -> probabilities [K, size, size]."""
        resized = Resize((self.image_size, self.image_size), mode="bilinear")(image)
        images = torch.as_tensor(resized.flip(0) if self.bgr else resized)[None]
        probabilities = predict_flipped(self.network, images) if flips else class_probabilities(self.network, images)
        return interpolate(probabilities, (size, size), mode="bilinear", align_corners=False)[0]


def predict_flipped(network: nn.Module, images: Tensor) -> Tensor:
    """Mean `class_probabilities` over the images and their flips, along either axis and along both.

    >>> import torch
    >>> from custom.inferers import predict_flipped
    >>> from custom.networks import UNet
    >>> network, images = UNet(seed=0).eval(), torch.rand(1, 3, 32, 32)
    >>> there_and_back = predict_flipped(network, images.flip(2)).flip(2)
    >>> torch.allclose(there_and_back, predict_flipped(network, images), atol=1e-5)
    True
    """
    views = [class_probabilities(network, images.flip(axes)).flip(axes) for axes in ((), (2,), (3,), (2, 3))]
    return sum(views) / len(views)


def add_soft_labels(
    items: Sequence[Mapping[str, str]],
    teacher: str | Sequence[str] | None,
    folder: str | os.PathLike,
    num_classes: int,
    image_size: int,
    flips: bool = True,
    kept_share: float = 1.0,
    bit_depth: int | None = None,
    device: torch.device | str = "cpu",
) -> list[dict[str, str]]:
    """The items with a "soft_label" each: a file with the mean prediction of the teachers, made if it is not there.

    With a `kept_share` below 1 only the items come back of which the teachers are surest, see `soft_dice_confidence`;
    an image in which they find nothing counts as one of which they are not sure. Choosing whole images is an idea of
    ST++ (Yang et al., CVPR 2022), which compares the predictions of several checkpoints for it.

    A file is a NumPy array of bytes [K - 1, W, H]: the probabilities of all classes but the background, times 255, for
    the upright image scaled to `image_size`. Only images are read, no masks. A run that is resumed finds its files.

    >>> from custom.inferers import add_soft_labels
    >>> add_soft_labels([], None, "teacher", num_classes=2, image_size=224)  # no image needs no teacher
    []

    Args:
        items: data items with an "image".
        teacher: the `model.pt` of a run, or several, whose probabilities are averaged; of any network.
        folder: where the files go, beside `teacher.json`, which says what they are of.
        num_classes: K of the data, with the background.
        image_size: side in pixels of the predictions. Each teacher sees the image at the size it was trained on.
        flips: average over the image and its flips along either axis and along both.
        kept_share: share of the images that come back, above 0, at most 1; at least one image does.
        bit_depth: see `LoadImageAndLabeld`.
        device: where the teachers run.

    Raises:
        InputError: no teacher, a file that is no model, a teacher of another number of classes, a share outside (0, 1],
            or a folder with predictions of other teachers, settings or images.
    """
    if not 0 < kept_share <= 1:
        raise InputError(f"kept_share {kept_share}: give a share above 0, at most 1")
    if not items:
        return []
    paths = [teacher] if isinstance(teacher, (str, os.PathLike)) else list(teacher or ())
    if not paths:
        raise InputError("teacher is missing: give --teacher the model.pt of a run, or a list of them")
    folder = Path(folder)
    teachers = [_load(path, num_classes, device) for path in paths]
    made_of = {
        "teachers": [file_digest(path) for path in paths],
        "images": data_fingerprint({"unlabelled": items}),
        "image_size": image_size,
        "flips": flips,
    }
    taught = [{**item, "soft_label": str(folder / f"{index:06d}.npy")} for index, item in enumerate(items)]
    on_first_process(_write, taught, teachers, folder, made_of, bit_depth, device)
    return taught if kept_share == 1 else _surest(taught, kept_share)


def _surest(taught: Sequence[Mapping[str, str]], share: float) -> list[dict[str, str]]:
    """The items of the highest confidence, in their order; of equal ones the earlier."""
    confidences = [soft_dice_confidence(np.load(item["soft_label"]) / np.float32(255)) for item in taught]
    surest = np.argsort(-np.array(confidences), kind="stable")
    kept = sorted(surest[: math.ceil(share * len(taught))])
    lowest = min(confidences[index] for index in kept)
    logger.info("teacher: %d of %d images are kept, of a confidence of %.2f or more", len(kept), len(taught), lowest)
    return [taught[index] for index in kept]


def _load(path: str | os.PathLike, num_classes: int, device: torch.device | str) -> Teacher:
    try:
        network, details = load_model(path), model_details(path)
    except InputError as error:
        raise InputError(f"teacher: {error}") from error
    if network.num_classes != num_classes:
        raise InputError(
            f"teacher {path}: it predicts {network.num_classes} classes and the data have {num_classes}; "
            "give a model that was trained on the same classes"
        )
    size = details.get("image_size", DEFAULT_SIZE)
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 8192:
        raise InputError(f"teacher {path}: its image_size is {str(size)[:40]}; give a model.pt of this project")
    return Teacher(network.to(device), size, bool(details.get("bgr", False)))


def _write(
    taught: Sequence[Mapping[str, str]],
    teachers: Sequence[Teacher],
    folder: Path,
    made_of: Mapping[str, Any],
    bit_depth: int | None,
    device: torch.device | str,
) -> None:
    note, size = folder / "teacher.json", made_of["image_size"]
    text = json.dumps(made_of, indent=1).encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if note.exists() and note.read_bytes() != text:
            raise InputError(
                f"{folder} holds predictions of another teacher, of other images or settings: give those that the run "
                "was started with, or start another run_name"
            )
        write_whole(note, text)
        left = [item for item in taught if not Path(item["soft_label"]).exists()]
        load = LoadImageAndLabeld(["image"], bit_depth=bit_depth)
        for item in tqdm(left, "teacher", unit="image", disable=None):
            image = load({"image": item["image"]})["image"].to(device)
            with torch.no_grad():
                predictions = [teacher.predict(image, made_of["flips"], size) for teacher in teachers]
            _save(sum(predictions) / len(predictions), item["soft_label"])
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror or error}); give --output_dir") from error


def _save(probabilities: Tensor, path: str) -> None:
    content = io.BytesIO()
    np.save(content, (255 * probabilities[1:]).round().clamp(0, 255).to(torch.uint8).cpu().numpy())
    write_whole(path, content.getvalue())
