"""Pixels of image and mask files: the formats that are read, and what their values mean."""

from __future__ import annotations

from custom.pixels.images import bits_used, read_image
from custom.pixels.masks import read_class_indices, read_mask

__all__ = ["bits_used", "read_class_indices", "read_image", "read_mask"]
