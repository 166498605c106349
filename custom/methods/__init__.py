"""Semi-supervised methods beside SemiGDA, one file each: the training step, readable beside its paper."""

from custom.methods.cps import CrossPseudoSupervision
from custom.methods.diffrect import DiffRect
from custom.methods.fixmatch import FixMatch
from custom.methods.ict import InterpolationConsistency
from custom.methods.mc_net import MutualConsistency
from custom.methods.scdl import (
    ClassDistributionLearning,
    CrossPseudoSupervisionWithSCDL,
    MutualConsistencyWithSCDL,
    SupervisedWithSCDL,
)
from custom.methods.supervised import Supervised
from custom.methods.ua_mt import UncertaintyAwareMeanTeacher
from custom.methods.urpc import UncertaintyRectifiedPyramidConsistency

__all__ = [
    "ClassDistributionLearning",
    "CrossPseudoSupervision",
    "CrossPseudoSupervisionWithSCDL",
    "DiffRect",
    "FixMatch",
    "InterpolationConsistency",
    "MutualConsistency",
    "MutualConsistencyWithSCDL",
    "Supervised",
    "SupervisedWithSCDL",
    "UncertaintyAwareMeanTeacher",
    "UncertaintyRectifiedPyramidConsistency",
]
