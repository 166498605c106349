"""Networks: the frozen first stage, the trainable parts, and SemiGDA made of them."""

from custom.networks.diffrect import DiffRectNetworks, LabelRectifier
from custom.networks.first_stage import FirstStage, build_first_stage
from custom.networks.first_stage_loading import load_first_stage
from custom.networks.first_stage_saving import save_first_stage
from custom.networks.label_codec import LabelCodec
from custom.networks.latent_mapper import LatentMapper
from custom.networks.pyramid_unet import PyramidUNet
from custom.networks.scdl_unet import SCDLUNet
from custom.networks.semigda import BranchOutputs, SemiGDA
from custom.networks.skip_adapters import SkipAdapters
from custom.networks.trainable_encoder import TrainableEncoder
from custom.networks.training_networks import MeanTeacher, NetworkPair, TrainingNetworks
from custom.networks.unet import UNet

__all__ = [
    "BranchOutputs",
    "DiffRectNetworks",
    "FirstStage",
    "LabelCodec",
    "LabelRectifier",
    "LatentMapper",
    "MeanTeacher",
    "NetworkPair",
    "PyramidUNet",
    "SCDLUNet",
    "SemiGDA",
    "SkipAdapters",
    "TrainableEncoder",
    "TrainingNetworks",
    "UNet",
    "build_first_stage",
    "load_first_stage",
    "save_first_stage",
]
