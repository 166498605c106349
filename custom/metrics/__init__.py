"""Metrics: HD95 defined for empty masks, the release's own figures, bootstrap intervals, disagreement of branches."""

from custom.metrics.bootstrap import bootstrap_interval, paired_bootstrap_interval
from custom.metrics.branch_disagreement import branch_disagreement
from custom.metrics.hausdorff import HausdorffDistance95Metric, compute_hausdorff_distance_95
from custom.metrics.release import release_scores

__all__ = [
    "HausdorffDistance95Metric",
    "bootstrap_interval",
    "branch_disagreement",
    "compute_hausdorff_distance_95",
    "paired_bootstrap_interval",
    "release_scores",
]
