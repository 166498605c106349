"""Inferers."""

from custom.inferers.branch_inferer import BranchInferer

__all__ = ["BranchInferer"]
