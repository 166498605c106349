"""Volumes: stacks of slices in NIfTI, NRRD and DICOM, read with their geometry and written in it."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "kinds": ["VOLUME_SUFFIXES", "is_volume", "volume_name"],
        "orientation": ["display_axcodes", "to_slices"],
        "reading": ["dicom_segments", "is_dicom_series", "read_dicom_segmentation", "read_volume"],
        "volume": ["Volume"],
        "window": ["AUTO", "check_window", "windowed"],
        "writing": ["write_map", "write_mask"],
    },
)
