"""Transforms: loading images and masks, and what MONAI's augmentation lacks."""

from custom.transforms.augmentation import RandColourJitterd, RandShiftScaleRotated
from custom.transforms.branches import SplitBranchesd
from custom.transforms.colour_palette import colour_labels, colour_palette
from custom.transforms.enhancement import RandEnhanced
from custom.transforms.loading import LoadImageAndLabeld

__all__ = [
    "LoadImageAndLabeld",
    "RandColourJitterd",
    "RandEnhanced",
    "RandShiftScaleRotated",
    "SplitBranchesd",
    "colour_labels",
    "colour_palette",
]
