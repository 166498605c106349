"""Masks as viewers want them: a picture, a volume on the grid of the image, outlines."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.inferers import Inferer
from monai.utils import convert_to_numpy
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.transform.writer import write_itk
from monailabel.utils.others.pathology import create_dsa_annotations_json
from numpy.typing import NDArray

from custom.errors import InputError
from custom.monai_label.label_files import PICTURE_AFFINE
from custom.monai_label.names import split_suffix
from custom.monai_label.outlines import asap_xml, colour_of, outline, select_pieces
from custom.pixels.formats import IMAGE_SUFFIXES
from custom.volumes.kinds import NIFTI_SUFFIXES

__all__ = ["SemiGDAInferTask"]

SMALLEST = 10
"""Square pixels of the smallest outline, unless a request says "min_poly_area"."""

OUTLINED = ("json", "asap", "dsa")
"""Values of "output" that ask for outlines."""


class SemiGDAInferTask(BundleInferTask):
    """Prediction with a bundle, of pictures and of volumes.

    What a request may ask for, besides what MONAI Label knows:

    - "result_extension": a volume's mask is `.nii.gz`, `.nii`, `.nrrd` or `.mha`, by default of the kind of the volume.
      The mask of a picture in one of these formats is a volume of one slice.
    - "output" `json`, `asap` or `dsa`: the JSON also has the outlines, in "annotations"; with the latter two the file
      is ASAP's XML or DSA's JSON.
    - "foreground", "background" and "roi" with a picture: pieces of the mask that points choose, within a box.
    """

    def __init__(self, path: str, conf: dict[str, str]) -> None:
        self._made: dict[tuple[str, str], Any] = {}
        super().__init__(path, conf, add_post_restore=False)  # the bundle's own transforms go back to the image's grid
        # Not the folder of temporary files itself: a client on the same machine saves the answer there by its name.
        self.folder = tempfile.TemporaryDirectory(prefix="monai_label_answers_")

    def pre_transforms(self, data: Any = None) -> Sequence[Callable]:
        """The transforms before the network."""
        return self._once("before", super().pre_transforms, data)

    def inferer(self, data: Any = None) -> Inferer:
        """What calls the network."""
        return self._once("inferer", super().inferer, data)

    def post_transforms(self, data: Any = None) -> Sequence[Callable]:
        """The transforms after the network."""
        return self._once("after", super().post_transforms, data)

    def _once(self, name: str, make: Callable[[Any], Any], data: Any) -> Any:
        """The part of the bundle, made for the first image on a device: MONAI Label does so for each."""
        key = (name, str((data or {}).get("device")))
        if key not in self._made:
            self._made[key] = make(data)
        return self._made[key]

    def writer(self, data: Mapping[str, Any], extension: str | None = None, dtype: Any = None) -> tuple[str, dict]:
        """Write the mask; returns the file and the JSON of the answer."""
        path = str(data["image_path"])
        mask, affine = convert_to_numpy(data[self.output_label_key]), None
        if mask.ndim == 3:
            affine = convert_to_numpy(data[self.output_label_key].affine)
        else:
            mask = _selected(mask, data)
        result, output = data["result"], data.get("output")
        if output in OUTLINED:
            if affine is not None:
                raise InputError("outlines are for pictures; ask for the mask of a volume as .nii.gz or .nrrd")
            elements = outline(mask.T, self.labels, data.get("min_poly_area", SMALLEST))
            colours = {element["label"]: colour_of(element["label"]) for element in elements}
            result["annotations"] = [{"annotation": {"elements": elements, "labels": colours}}] if elements else []
            if output != "json":
                return self._write_outlines(output, result["annotations"]), result
        kind = data.get("result_extension") or (split_suffix(path)[1].lower() if affine is None else _kind_of(path))
        file = self._new_file(kind)
        _write(file, mask, affine, kind, data.get("result_dtype"), bool(data.get("result_compress")))
        return file, result

    def _write_outlines(self, output: str, annotations: list[dict[str, Any]]) -> str:
        model = Path(self.bundle_path).name
        if output == "asap":
            file = self._new_file(".xml")
            elements = annotations[0]["annotation"]["elements"] if annotations else []
            Path(file).write_text(asap_xml(elements, model), encoding="utf-8")
            return file
        content = {"name": f"MONAI Label annotations of {model}", "model": model, "annotations": annotations}
        return create_dsa_annotations_json(content)[0]

    def _new_file(self, suffix: str) -> str:
        """A file that the server removes after the answer."""
        with tempfile.NamedTemporaryFile(suffix=suffix, dir=self.folder.name, delete=False) as file:
            return file.name


def _selected(mask: NDArray, data: Mapping[str, Any]) -> NDArray:
    """The mask [W, H] with what the user points at."""
    wanted, unwanted = data.get("foreground") or [], data.get("background") or []
    box = data.get("roi") or None
    if not (wanted or unwanted or box):
        return mask
    if box is not None and len(box) != 4:
        raise InputError(f"roi has {len(box)} numbers; give x and y of two corners")
    return select_pieces(mask.T, wanted, unwanted, box).T


def _kind_of(path: str) -> str:
    return ".nrrd" if path.lower().endswith(".nrrd") else ".nii.gz"


def _write(file: str, mask: NDArray, affine: NDArray | None, kind: str, dtype: str | None, compress: bool) -> None:
    """A mask [W, H] without an affine, or [I, J, K] with one."""
    picture = kind in IMAGE_SUFFIXES
    if picture and affine is not None:
        raise InputError(f"{kind} files hold no volume; ask for .nii.gz, .nii, .nrrd or .mha")
    if affine is None and not picture:
        mask, affine = mask[:, :, None], PICTURE_AFFINE
    mask = mask.astype(dtype or np.uint8)
    if kind in NIFTI_SUFFIXES:  # ITK would refuse axes that are not at right angles
        image = nibabel.Nifti1Image(mask, affine)
        image.header.set_xyzt_units("mm")
        image.to_filename(file)
    else:
        write_itk(mask, file, affine, None, compress)
