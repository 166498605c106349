"""Semi-supervised methods beside SemiGDA, one file each: the training step, readable beside its paper."""

from custom.methods.cps import CrossPseudoSupervision
from custom.methods.mc_net import MutualConsistency
from custom.methods.supervised import Supervised
from custom.methods.ua_mt import UncertaintyAwareMeanTeacher

__all__ = [
    "CrossPseudoSupervision",
    "MutualConsistency",
    "Supervised",
    "UncertaintyAwareMeanTeacher",
]
