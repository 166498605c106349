"""Semi-supervised methods beside SemiGDA, one file each: the training step, readable beside its paper."""

from custom.methods.fixmatch import FixMatch
from custom.methods.ict import InterpolationConsistency
from custom.methods.supervised import Supervised
from custom.methods.ua_mt import UncertaintyAwareMeanTeacher
from custom.methods.urpc import UncertaintyRectifiedPyramidConsistency

__all__ = [
    "FixMatch",
    "InterpolationConsistency",
    "Supervised",
    "UncertaintyAwareMeanTeacher",
    "UncertaintyRectifiedPyramidConsistency",
]
