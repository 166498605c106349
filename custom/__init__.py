"""Semi-supervised medical image segmentation as MONAI bundles: the components the bundles share."""
