"""Transforms: loading images and masks, and what MONAI's augmentation lacks."""

from custom.transforms.augmentation import RandColourJitterd, RandShiftScaleRotated
from custom.transforms.branches import SplitBranchesd
from custom.transforms.loading import LoadImageAndLabeld, image_to_rgb, mask_to_classes

__all__ = [
    "LoadImageAndLabeld",
    "RandColourJitterd",
    "RandShiftScaleRotated",
    "SplitBranchesd",
    "image_to_rgb",
    "mask_to_classes",
]
