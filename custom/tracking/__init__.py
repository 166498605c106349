"""Experiment tracking: one MLflow run for all stages of a training, and a CSV file of the same figures."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "store": ["make_experiment"],
        "table": ["MetricsTable"],
        "tracker": ["ExperimentTracker"],
    },
)
