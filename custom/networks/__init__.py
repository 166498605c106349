"""Networks: the frozen first stage, the trainable parts, and SemiGDA made of them."""

from custom.networks.first_stage import FirstStage, build_first_stage
from custom.networks.first_stage_loading import load_first_stage
from custom.networks.first_stage_saving import save_first_stage
from custom.networks.label_codec import LabelCodec
from custom.networks.latent_mapper import LatentMapper
from custom.networks.semigda import BranchOutputs, SemiGDA
from custom.networks.skip_adapters import SkipAdapters
from custom.networks.trainable_encoder import TrainableEncoder

__all__ = [
    "BranchOutputs",
    "FirstStage",
    "LabelCodec",
    "LatentMapper",
    "SemiGDA",
    "SkipAdapters",
    "TrainableEncoder",
    "build_first_stage",
    "load_first_stage",
    "save_first_stage",
]
