"""Pixels: the only place that knows how image and mask files store them. Everything that reads a picture asks here."""

from __future__ import annotations

from custom.pixels.images import bits_used, read_image
from custom.pixels.masks import read_class_indices, read_mask

__all__ = ["bits_used", "read_class_indices", "read_image", "read_mask"]
