"""Metrics: scores per image and volume, their statistics and tables, HD95 of empty masks, the release's figures."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "bootstrap": ["bootstrap_interval", "paired_bootstrap_interval"],
        "disputed_share": ["disputed_share"],
        "hausdorff": ["HausdorffDistance95Metric", "compute_hausdorff_distance_95"],
        "image_scores": ["score_image"],
        "main_figures": ["main_figures"],
        "release": ["release_scores"],
        "score_summary": ["summarise_scores"],
        "summary_table": ["format_summary", "format_table"],
        "volume_scores": ["score_volume"],
    },
)
