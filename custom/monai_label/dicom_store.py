"""Images in a DICOM store, which viewers such as OHIF show, with a check of the labels that go there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import nibabel
import numpy as np
from fastapi import HTTPException
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.datastore import DefaultLabelTag

from custom.errors import InputError
from custom.monai_label.datastore import label_to_store
from custom.monai_label.names import check_name, is_plain

__all__ = ["CheckedDICOMWebDatastore"]


class CheckedDICOMWebDatastore(DICOMWebDatastore):
    """MONAI Label's datastore for DICOMweb, where an image is a series, which the server turns into NIfTI.

    A final label goes back as a DICOM segmentation with a segment for each class. It is refused with status 400 and one
    line where it does not fit the series, and where it is empty, as DICOM has no segmentation without segments.
    """

    class_names: Callable[[], Mapping[str, int]] = staticmethod(dict)

    @classmethod
    def of(cls, store: DICOMWebDatastore, class_names: Callable[[], Mapping[str, int]]) -> CheckedDICOMWebDatastore:
        """The store that MONAI Label has opened by its own settings, with the checks."""
        store.__class__ = cls
        store.class_names = class_names
        return store

    def get_image_uri(self, image_id: str) -> str:
        """The file that a series was turned into; empty if the store has no such series."""
        return super().get_image_uri(image_id) if self._is_known(image_id) else ""

    def _is_known(self, series: str) -> bool:
        """The list of all series may be old: MONAI Label asks for it every two hours."""
        if not is_plain(series):
            return False
        return series in self.list_images() or bool(
            self._client.search_for_series(search_filters={"SeriesInstanceUID": series})
        )

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any], label_id: str = ""
    ) -> str:
        """Store a label of a series."""
        if not self._is_known(check_name(image_id, "image")):
            raise HTTPException(404, f"label of {image_id}: the DICOM store has no such series")
        names, image = self.class_names(), self.get_image_uri(image_id)
        with label_to_store(image_id, image, label_filename, label_tag, label_info, names) as label:
            values = set(np.unique(np.asarray(nibabel.load(label).dataobj)).tolist()) - {0}
            if label_tag == DefaultLabelTag.FINAL and not values:
                raise InputError("it is empty, and a DICOM segmentation cannot be; draw something")
            by_index = {index: name for name, index in names.items()}
            shown = [{"name": by_index.get(value, str(value)), "idx": value} for value in sorted(values)]
            stored = label.rename(label.with_name("label.nii.gz"))  # the name of a series holds dots
            return super().save_label(image_id, str(stored), label_tag, {**label_info, "label_info": shown}, label_id)
