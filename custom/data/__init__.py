"""Data: from the datalist to checked files and paired batches."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bit_depth": ["find_bit_depth", "model_bit_depth"],
        "check": ["check_dataset", "check_images", "data_fingerprint"],
        "datalist": ["load_datalist", "read_bit_depth", "read_datalist", "read_ignore_value", "read_num_classes"],
        "evaluation_sampler": ["evaluation_sampler"],
        "image_files": ["list_images"],
        "paired_loader": ["PairedLoader"],
    },
)
