"""Training methods, one file each: what an iteration does, readable beside its paper."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "autoencoder": ["AutoencoderEvaluator", "AutoencoderTrainer"],
        "bcp": ["BidirectionalCopyPaste"],
        "bs_net": ["BSNet"],
        "caussl_cps": ["CrossPseudoSupervisionWithCauSSL"],
        "cdma": ["CrossDistillationOfAttentions"],
        "cps": ["CrossPseudoSupervision"],
        "csc_pa": ["CSCPA"],
        "dhc": ["HeterogeneousCoTraining"],
        "diffrect": ["DiffRect"],
        "distilled": ["Distilled"],
        "dtc": ["DualTaskConsistency"],
        "fixmatch": ["FixMatch"],
        "ga_cps": ["GradientAwareCrossPseudoSupervision"],
        "ga_magicnet": ["GradientAwareMagicNet"],
        "genericssl": ["GenericSSL"],
        "ict": ["InterpolationConsistency"],
        "incl": ["InherentConsistentLearning"],
        "magicnet": ["MagicNet"],
        "mc_net": ["MutualConsistency"],
        "mcf": ["MutualCorrection"],
        "pmt": ["ProgressiveMeanTeacher"],
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
        "skcdf": ["SKCDF"],
        "supervised": ["Supervised"],
        "trainer": ["MethodTrainer"],
        "ua_mt": ["UncertaintyAwareMeanTeacher"],
        "unco": ["UncertaintyCoEstimator"],
        "unimatch_v2": ["UniMatchV2"],
        "urpc": ["UncertaintyRectifiedPyramidConsistency"],
        "vclipseg": ["VCLIPSeg"],
        "weight_average": ["WeightAverage"],
    },
)
