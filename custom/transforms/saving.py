"""From predictions to picture files."""

from __future__ import annotations

import os

import torch
from monai.config import KeysCollection
from monai.transforms import SaveImaged

__all__ = ["SavePictured"]


class SavePictured(SaveImaged):
    """Write each prediction as an 8-bit PNG with the name of its image, all in one folder.

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
        keys: keys of the predictions, [1, W, H].
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
