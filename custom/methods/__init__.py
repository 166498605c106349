"""Semi-supervised methods beside SemiGDA, one file each: the training step, readable beside its paper."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "cps": ["CrossPseudoSupervision"],
        "diffrect": ["DiffRect"],
        "fixmatch": ["FixMatch"],
        "ict": ["InterpolationConsistency"],
        "mc_net": ["MutualConsistency"],
        "scdl": [
            "ClassDistributionLearning",
            "CrossPseudoSupervisionWithSCDL",
            "MutualConsistencyWithSCDL",
            "SupervisedWithSCDL",
        ],
        "supervised": ["Supervised"],
        "ua_mt": ["UncertaintyAwareMeanTeacher"],
        "urpc": ["UncertaintyRectifiedPyramidConsistency"],
    },
)
