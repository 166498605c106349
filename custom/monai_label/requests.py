"""The images of a training request: labelled ones come with it, unlabelled ones from the server's datastore."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from custom.errors import InputError

__all__ = ["requested_data"]

logger = logging.getLogger(__name__)

Items = Sequence[Mapping[str, str]]


def requested_data(labelled: Items, validation: Items, use_unlabelled: bool = True) -> dict[str, list[dict[str, str]]]:
    """The data of a training request in the form that `load_datalist` returns; no test images.

    MONAI Label hands over labelled images alone. The unlabelled ones are all images of its datastore without a final
    label; a preliminary label, such as a stored prediction, is never opened.

    Args:
        labelled: items with "image" and "label", for training.
        validation: items with "image" and "label"; may be empty.
        use_unlabelled: False leaves "unlabelled" empty.

    Raises:
        InputError: no labelled image, or MONAI Label does not run here.
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
    return {
        "labelled": [{key: item[key] for key in ("image", "label")} for item in labelled],
        "unlabelled": [{"image": image} for image in unlabelled],
        "validation": [{key: item[key] for key in ("image", "label")} for item in validation],
        "test": [],
    }


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
