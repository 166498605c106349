"""Semi-supervised medical image segmentation as MONAI bundles: the components the bundles share."""

from custom.config_values import flag

__all__ = ["flag"]
