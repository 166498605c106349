"""Training methods, one file each: what an iteration does, readable beside its paper."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "autoencoder": ["AutoencoderEvaluator", "AutoencoderTrainer"],
        "bcp": ["BidirectionalCopyPaste"],
        "cps": ["CrossPseudoSupervision"],
        "dhc": ["HeterogeneousCoTraining"],
        "diffrect": ["DiffRect"],
        "distilled": ["Distilled"],
        "fixmatch": ["FixMatch"],
        "ga_cps": ["GradientAwareCrossPseudoSupervision"],
        "ga_magicnet": ["GradientAwareMagicNet"],
        "genericssl": ["GenericSSL"],
        "ict": ["InterpolationConsistency"],
        "magicnet": ["MagicNet"],
        "mc_net": ["MutualConsistency"],
        "scdl": [
            "ClassDistributionLearning",
            "CrossPseudoSupervisionWithSCDL",
            "GradientAwareCrossPseudoSupervisionWithSCDL",
            "HeterogeneousCoTrainingWithSCDL",
            "MutualConsistencyWithSCDL",
            "SupervisedWithSCDL",
        ],
        "semigda_alignment": ["AlignmentEvaluator", "SemiGDAAlignment"],
        "semigda_plus": ["SemiGDAPlus"],
        "semigda_segmentation": ["SemiGDASegmentation"],
        "supervised": ["Supervised"],
        "trainer": ["MethodTrainer"],
        "ua_mt": ["UncertaintyAwareMeanTeacher"],
        "unimatch_v2": ["UniMatchV2"],
        "urpc": ["UncertaintyRectifiedPyramidConsistency"],
        "weight_average": ["WeightAverage"],
    },
)
