"""Training methods, one file each: what an iteration does, readable beside its paper."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "autoencoder": ["AutoencoderEvaluator", "AutoencoderTrainer"],
        "bcp": ["BidirectionalCopyPaste"],
        "bs_net": ["BSNet"],
        "cps": ["CrossPseudoSupervision"],
        "csc_pa": ["CSCPA"],
        "diffrect": ["DiffRect"],
        "distilled": ["Distilled"],
        "fixmatch": ["FixMatch"],
        "ict": ["InterpolationConsistency"],
        "mc_net": ["MutualConsistency"],
        "scdl": [
            "ClassDistributionLearning",
            "CrossPseudoSupervisionWithSCDL",
            "MutualConsistencyWithSCDL",
            "SupervisedWithSCDL",
        ],
        "semigda_alignment": ["AlignmentEvaluator", "SemiGDAAlignment"],
        "semigda_plus": ["SemiGDAPlus"],
        "semigda_segmentation": ["SemiGDASegmentation"],
        "skcdf": ["SKCDF"],
        "supervised": ["Supervised"],
        "trainer": ["MethodTrainer"],
        "ua_mt": ["UncertaintyAwareMeanTeacher"],
        "unimatch_v2": ["UniMatchV2"],
        "urpc": ["UncertaintyRectifiedPyramidConsistency"],
        "vclipseg": ["VCLIPSeg"],
        "weight_average": ["WeightAverage"],
    },
)
