"""Semi-supervised methods beside SemiGDA, one file each: the training step, readable beside its paper."""

from custom.methods.diffrect import DiffRect
from custom.methods.supervised import Supervised
from custom.methods.ua_mt import UncertaintyAwareMeanTeacher

__all__ = ["DiffRect", "Supervised", "UncertaintyAwareMeanTeacher"]
