"""Learning-rate schedules."""

from custom.optimizers.polynomial_restarts import PolynomialRestarts

__all__ = ["PolynomialRestarts"]
