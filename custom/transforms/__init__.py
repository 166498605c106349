"""Transforms: loading images and masks, and what MONAI's augmentation lacks."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "augmentation": ["RandColourJitterd", "RandShiftScaleRotated"],
        "batch_colours": ["BatchColourJitter"],
        "branches": ["SplitBranchesd"],
        "brightness": ["EnsureBrightnessd"],
        "enhancement": ["RandEnhanced"],
        "loading": ["LoadImageAndLabeld"],
        "saving": ["SaveMaskd", "SavePictured"],
        "slices": ["ResizeSlicesd", "SliceOrientationd", "grid_size"],
        "soft_labels": ["LoadSoftLabeld"],
    },
)
