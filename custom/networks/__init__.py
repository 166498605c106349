"""Networks: SemiGDA, the networks of the other methods, and the files of trained ones."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "build": [
            "SCDLUNetPair",
            "UNetPair",
            "UNetWithCellLocations",
            "UNetWithDenoiser",
            "UNetWithPyramid",
            "UNetWithRectifier",
            "UNetWithTeacher",
        ],
        "diffrect": ["DiffRectNetworks", "LabelRectifier"],
        "encoders": ["build_encoder"],
        "generic_ssl": ["GenericSSLNetworks"],
        "lite_encoder": ["EfficientNetLiteEncoder"],
        "latent_mapper": ["LatentMapper"],
        "magicnet": ["MagicNetworks"],
        "mask_branch": ["MaskBranch"],
        "model_file": ["load_model", "load_trained_weights", "model_details", "save_model"],
        "pretrained_mask_encoder": ["PretrainedMaskEncoder"],
        "pyramid_unet": ["PyramidUNet"],
        "scdl_unet": ["SCDLUNet"],
        "semigda": ["BranchOutputs", "SemiGDA"],
        "skip_adapters": ["SkipAdapters"],
        "trainable_encoder": ["TrainableEncoder"],
        "training_networks": ["MeanTeacher", "NetworkPair", "TrainingNetworks"],
        "unet": ["UNet"],
    },
)
