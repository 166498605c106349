"""A folder of images and labels on the server's disk that takes in nothing broken."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.datastore.local import LocalDatastore
from PIL import Image

from custom.errors import InputError
from custom.pixels import read_class_indices, read_image
from custom.pixels.images import MOST_BIT_DEPTH

__all__ = ["CheckedDatastore"]

# Whether a model knows the classes and the bit depth is checked when it is trained.
_ANY_IMAGE = partial(read_image, bit_depth=MOST_BIT_DEPTH)
_ANY_MASK = partial(read_class_indices, num_classes=None)


class CheckedDatastore(LocalDatastore):
    """MONAI Label's local datastore, which looks at each image and label before it replaces anything.

    `add_image` and `save_label` answer with status 404 where the image is unknown, and 400 where a file cannot be read
    or the label has another size than its image. What was stored before is still there.
    """

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Store an image."""
        _open(image_filename, _ANY_IMAGE, f"image {image_id}")
        return super().add_image(image_id, image_filename, image_info)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Store a label of an image."""
        uri = self.get_image_uri(image_id)
        if not uri:
            raise HTTPException(404, f"label of {image_id}: the datastore has no such image; upload the image first")
        label = _open(label_filename, _ANY_MASK, f"label of {image_id}")
        image = _open(uri, _ANY_IMAGE, f"image {image_id}")
        if label.size != image.size:
            raise HTTPException(
                400,
                f"label of {image_id} has {label.width}x{label.height} pixels, its image "
                f"{image.width}x{image.height}: draw it at the image's size",
            )
        return super().save_label(image_id, label_filename, label_tag, label_info)


def _open(path: str, read: Callable[[str], Image.Image], name: str) -> Image.Image:
    """The picture, or a complaint that names it as the client knows it instead of the server's temporary file."""
    try:
        return read(path)
    except InputError as error:
        message = str(error).replace(str(path), f"the {Path(path).suffix.lstrip('.')} file")
        raise HTTPException(400, f"{name}: {message}") from error
