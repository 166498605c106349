"""What a bundle does inside MONAI Label: trains on the server's images, predicts masks, chooses what to label next.

Only `answers`, `datastore`, `dicom_store`, `disagreement`, `guard` and `server` need the package monailabel; a bundle
can be exported without it.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "models": ["ModelPublisher", "reset_weights", "is_trained"],
        "requests": ["requested_data"],
        "results": ["DescribeResultd"],
    },
)
