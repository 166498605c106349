"""Learning-rate schedules."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "parameter_groups": ["parameter_groups"],
        "polynomial_restarts": ["PolynomialRestarts"],
    },
)
