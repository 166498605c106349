"""What a bundle does inside MONAI Label: trains on the server's images, answers with masks, says what to label next.

Only `disagreement`, `datastore`, `guard` and `server` need the package monailabel; a bundle can be exported without it.
"""

from __future__ import annotations

from custom.monai_label.models import ModelPublisher, forget_training, is_trained
from custom.monai_label.requests import requested_data
from custom.monai_label.results import DescribeResultd

__all__ = ["DescribeResultd", "ModelPublisher", "forget_training", "is_trained", "requested_data"]
