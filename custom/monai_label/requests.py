"""The images of a training request: labelled ones come with it, unlabelled ones from the server's datastore."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from custom.errors import InputError
from custom.processes import on_first_process
from custom.volumes import AUTO, is_volume, volume_name
from custom.volumes.window import Window

__all__ = ["requested_data"]

logger = logging.getLogger(__name__)

Items = Sequence[Mapping[str, str]]


def requested_data(
    labelled: Items,
    validation: Items,
    use_unlabelled: bool = True,
    slices: str | os.PathLike[str] = "slices",
    window: Window = AUTO,
) -> dict[str, list[dict[str, str]]]:
    """The data of a training request in the form that `load_datalist` returns; no test images.

    MONAI Label hands over labelled images alone. The unlabelled ones are all images of its datastore without a final
    label; a preliminary label, such as a stored prediction, is never opened.

    Args:
        labelled: items with "image" and "label", for training.
        validation: items with "image" and "label"; may be empty.
        use_unlabelled: False leaves "unlabelled" empty.
        slices: a folder, made where there are volumes: their slices and those of their labels become pictures in it,
            which stand for the volumes. All slices of a volume are on the same side.
        window: which values of volumes become black and white, see `custom.volumes.windowed`.

    Raises:
        InputError: no labelled image, or MONAI Label does not run here, or a volume that cannot be cut.
    """
    if not labelled:
        raise InputError("no labelled image to train on: label at least one, or choose a smaller val_split")
    unlabelled = _unlabelled_images() if use_unlabelled else []
    if use_unlabelled and not unlabelled:
        logger.warning("Every image of the datastore has a label: training uses labels only")
    logger.info(
        "training on %d labelled and %d unlabelled images, validating on %d",
        len(labelled),
        len(unlabelled),
        len(validation),
    )
    if not validation:
        logger.warning("No image for validation: the weights of the last epoch are used")
    data = {
        "labelled": [{key: item[key] for key in ("image", "label")} for item in labelled],
        "unlabelled": [{"image": image} for image in unlabelled],
        "validation": [{key: item[key] for key in ("image", "label")} for item in validation],
        "test": [],
    }
    return {name: _cut(items, Path(slices), window) for name, items in data.items()}


def _cut(items: Items, folder: Path, window: Window) -> list[dict[str, str]]:
    """The items, with one for each slice in the place of a volume."""
    found: list[dict[str, str]] = []
    for item in items:
        if is_volume(item["image"]):
            found += on_first_process(_cut_one, item, folder, window)
        else:
            found.append(dict(item))
    return found


def _cut_one(item: Mapping[str, str], folder: Path, window: Window) -> list[dict[str, str]]:
    from custom.prepare.volumes import cut_volume

    image, masks = Path(item["image"]), [Path(item["label"])] if "label" in item else []
    records = cut_volume(image, masks, folder, volume_name(image), window=window)
    return [
        {"image": str(record.image), **({"label": str(record.masks[0])} if record.masks else {})}
        for record in records
        if _shows_something(record.image)
    ]


def _shows_something(picture: Path) -> bool:
    """Not black all over, as slices beside the patient are, which are all the same."""
    with Image.open(picture) as image:
        ends = image.getextrema()
    return any(low != high for low, high in (ends if isinstance(ends[0], tuple) else [ends]))


def _unlabelled_images() -> list[str]:
    """Files of the images without a final label, in the order of their names."""
    datastore = _datastore()
    return sorted(datastore.get_image_uri(image) for image in datastore.get_unlabeled_images())


def _datastore() -> Any:
    """The datastore of the server, or of the training process which it started."""
    try:
        from monailabel.interfaces.utils.app import app_instance
    except ImportError:
        raise InputError(
            "this bundle was exported for MONAI Label, which starts its trainings; export it without --monai-label "
            "to train from the command line"
        ) from None
    return app_instance().datastore()
