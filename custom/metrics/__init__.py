"""Metrics: HD95 defined for empty masks, the release's own figures, bootstrap intervals, disagreement of branches."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bootstrap": ["bootstrap_interval", "paired_bootstrap_interval"],
        "branch_disagreement": ["branch_disagreement"],
        "hausdorff": ["HausdorffDistance95Metric", "compute_hausdorff_distance_95"],
        "release": ["release_scores"],
    },
)
