"""From predictions to files: pictures, and volumes with their geometry."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import SaveImaged
from monai.utils import convert_to_numpy

from custom.volumes import write_map, write_mask

__all__ = ["SaveMaskd", "SavePictured"]


class SavePictured(SaveImaged):
    """Write each prediction as an 8-bit file with the name of its image, all in one folder: PNG, or a volume.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> from monai.data import MetaTensor
    >>> from custom.transforms import SavePictured
    >>> mask = MetaTensor(torch.ones(1, 8, 8), meta={"filename_or_obj": "images/case_1.jpg"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = SavePictured("pred", folder, scale=255)({"pred": mask})
    ...     [path.name for path in Path(folder).iterdir()]
    ['case_1.png']

    Args:
        keys: keys of the predictions, [1, W, H]; or [1, I, J, K], as stored, of volumes: see `write_map`.
        output_dir: the folder.
        scale: 255 spreads values in [0, 1] over the 8 bits; None writes whole numbers as they are.
    """

    def __init__(self, keys: KeysCollection, output_dir: str | os.PathLike[str], scale: int | None = None) -> None:
        super().__init__(
            keys,
            output_dir=output_dir,
            output_postfix="",
            output_ext=".png",
            separate_folder=False,
            resample=False,
            scale=scale,
            output_dtype=torch.uint8,
            print_log=False,
        )
        self.scale = scale
        self.output_dir = output_dir

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the predictions of `data`, which stays as it is."""
        volumes = [key for key in self.key_iterator(data) if data[key].ndim == 4]
        for key in volumes:
            self.write_volume(data[key])
        return dict(data) if volumes else super().__call__(data)

    def write_volume(self, prediction: Any) -> None:
        """Write the prediction of a volume, [1, I, J, K]."""
        values = (prediction[0].float() * (self.scale or 1)).round().to(torch.uint8)
        write_map(_source(prediction), convert_to_numpy(values), _affine(prediction), self.output_dir)


class SaveMaskd(SavePictured):
    """Write masks of class indices: PNG for a picture; for a volume a file of its kind, see `write_mask`.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> from monai.data import MetaTensor
    >>> from custom.transforms import SaveMaskd
    >>> mask = MetaTensor(torch.ones(1, 8, 8, 3), affine=torch.eye(4), meta={"filename_or_obj": "case_1.nrrd"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = SaveMaskd("pred", folder)({"pred": mask})
    ...     [path.name for path in Path(folder).iterdir()]
    ['case_1.nrrd']

    Args:
        keys: keys of the masks, [1, W, H] or [1, I, J, K], as stored.
        output_dir: the folder.
        class_names: names of the classes, background first. With two a PNG holds 0 and 255.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | os.PathLike[str],
        class_names: Sequence[str] = ("background", "foreground"),
    ) -> None:
        super().__init__(keys, output_dir, scale=255 if len(class_names) == 2 else None)
        self.class_names = tuple(class_names)

    def write_volume(self, prediction: Any) -> None:
        """Write the mask of a volume, [1, I, J, K]."""
        indices = convert_to_numpy(prediction[0]).astype("uint8")
        write_mask(_source(prediction), indices, _affine(prediction), self.output_dir, self.class_names)


def _source(values: Any) -> str:
    return str(values.meta["filename_or_obj"])


def _affine(values: Any) -> Any:
    return convert_to_numpy(values.affine)
