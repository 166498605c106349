"""Images to predict: a file or a folder."""

from __future__ import annotations

import os
from pathlib import Path

from custom.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "list_images"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def list_images(source: str | os.PathLike) -> list[dict[str, str]]:
    """Data items {"image": absolute path} of one image, or of all images directly in a folder, by name.

    Raises:
        InputError: nothing there, no image, or two images whose masks would have the same name.
    """
    source = Path(source)
    if source.is_file():
        return [{"image": str(source.absolute())}]
    if not source.is_dir():
        raise InputError(
            f"dataset_dir {source}: no such file or folder; give --dataset_dir an image or a folder of images"
        )
    images = sorted(path for path in source.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise InputError(f"dataset_dir {source}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    stems: dict[str, Path] = {}
    for path in images:
        if path.stem in stems:
            raise InputError(f"{path} and {stems[path.stem].name} would both write {path.stem}.png; rename one of them")
        stems[path.stem] = path
    return [{"image": str(path.absolute())} for path in images]
