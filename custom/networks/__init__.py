"""Networks: SemiGDA, the networks of the other methods, and the files of trained ones."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attention_unet": ["AttentionUNet"],
        "bs_net": ["BSNetNetworks", "PredictionDiscriminator"],
        "build": [
            "SCDLUNetPair",
            "UNetPair",
            "UNetPairWithTeachers",
            "UNetWithCellLocations",
            "UNetWithDenoiser",
            "UNetWithDistances",
            "UNetWithInherentConsistency",
            "UNetWithPyramid",
            "UNetWithRectifier",
            "UNetWithTeacher",
        ],
        "csc_pa": ["CSCPANetworks"],
        "diffrect": ["DiffRectNetworks", "LabelRectifier"],
        "distance_unet": ["DistanceUNet"],
        "encoders": ["build_encoder"],
        "generic_ssl": ["GenericSSLNetworks"],
        "inherent_consistency": ["InherentConsistencyUNet"],
        "latent_mapper": ["LatentMapper"],
        "lite_encoder": ["EfficientNetLiteEncoder"],
        "magicnet": ["MagicNetworks"],
        "mask_branch": ["MaskBranch"],
        "model_file": ["load_model", "load_trained_weights", "model_details", "save_model"],
        "pretrained_mask_encoder": ["PretrainedMaskEncoder"],
        "pyramid_unet": ["PyramidUNet"],
        "scdl_unet": ["SCDLUNet"],
        "semigda": ["BranchOutputs", "SemiGDA"],
        "skcdf_unet": ["SKCDFNetworks", "SKCDFUNet"],
        "skip_adapters": ["SkipAdapters"],
        "trainable_encoder": ["TrainableEncoder"],
        "training_networks": ["MeanTeacher", "NetworkPair", "TrainingNetworks"],
        "unet": ["UNet"],
        "vclip_unet": ["VCLIPSegNetworks", "VCLIPUNet"],
    },
)
