"""Networks: the frozen first stage, the trainable parts, and SemiGDA made of them."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "diffrect": ["DiffRectNetworks", "LabelRectifier"],
        "first_stage": ["FirstStage", "build_first_stage"],
        "first_stage_loading": ["load_first_stage"],
        "first_stage_saving": ["save_first_stage"],
        "label_codec": ["LabelCodec"],
        "latent_mapper": ["LatentMapper"],
        "pyramid_unet": ["PyramidUNet"],
        "scdl_unet": ["SCDLUNet"],
        "semigda": ["BranchOutputs", "SemiGDA"],
        "skip_adapters": ["SkipAdapters"],
        "trainable_encoder": ["TrainableEncoder"],
        "training_networks": ["MeanTeacher", "NetworkPair", "TrainingNetworks"],
        "unet": ["UNet"],
    },
)
