"""A MONAI Deploy application: a DICOM series in, a DICOM segmentation out, by an exported bundle.

python docs/deploy/app.py --input DICOM_FOLDER --output FOLDER --model BUNDLE, the folder of an exported bundle.
"""

from __future__ import annotations

import json
from pathlib import Path

from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application
from monai.deploy.core.domain import Image
from monai.deploy.core.io_type import IOType
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator
from monai.deploy.operators.dicom_seg_writer_operator import DICOMSegmentationWriterOperator, SegmentDescription
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator
from monai.deploy.operators.monai_bundle_inference_operator import (
    BundleConfigNames,
    IOMapping,
    MonaiBundleInferenceOperator,
)
from pydicom.sr.codedict import codes


class SegmentationApp(Application):
    """Loads all series of a folder, predicts each by the bundle and writes a DICOM segmentation."""

    def compose(self) -> None:
        """Connect the operators."""
        context = Application.init_app_context(self.argv)
        bundle = Path(context.model_path)
        context.models = None  # the operator loads a bundle that is a folder; the SDK's own models are single files
        load = DICOMDataLoaderOperator(
            self, CountCondition(self, 1), input_folder=Path(context.input_path), name="load"
        )
        select = DICOMSeriesSelectorOperator(self, rules="", name="select")  # all series
        volume = DICOMSeriesToVolumeOperator(self, name="volume")
        predict = MonaiBundleInferenceOperator(
            self,
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", Image, IOType.IN_MEMORY)],
            app_context=context,
            bundle_config_names=BundleConfigNames(config_names=["inference"]),
            bundle_path=str(bundle),
            name="predict",
        )
        write = DICOMSegmentationWriterOperator(
            self, segment_descriptions=_segments(bundle), output_folder=Path(context.output_path), name="write"
        )
        self.add_flow(load, select, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(select, volume, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(volume, predict, {("image", "image")})
        self.add_flow(select, write, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(predict, write, {("pred", "seg_image")})


def _segments(bundle: Path) -> list[SegmentDescription]:
    """A segment for each class but the background, with the names of the bundle's metadata."""
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    names = metadata["network_data_format"]["outputs"]["pred"]["channel_def"].values()
    return [
        SegmentDescription(
            segment_label=name,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.AnatomicalStructure,
            algorithm_name=metadata["name"],
            algorithm_version=metadata["version"],
        )
        for name in names
        if name != "background"
    ]


if __name__ == "__main__":
    SegmentationApp().run()
