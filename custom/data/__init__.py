"""Data: from the datalist to checked files and paired batches."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "class_shares": ["class_shares"],
        "datalist": ["load_datalist", "read_datalist", "scored_items"],
        "evaluation_loader": ["EvaluationLoader", "evaluation_sampler"],
        "facts": ["DataFacts", "classes_by_number", "model_bit_depth", "read_facts"],
        "fingerprint": ["data_fingerprint"],
        "images": ["list_images"],
        "paired_loader": ["PairedLoader"],
    },
)
