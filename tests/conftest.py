"""Tiny networks for tests: real architectures, random weights, a few thousand parameters."""

from __future__ import annotations

import functools
import os

import pytest
import torch
from monai.bundle import ComponentLocator, config_parser
from yaml.constructor import SafeConstructor
from yaml.cyaml import CParser
from yaml.resolver import Resolver

# One core per test process: pytest-xdist runs several, and tests start processes of their own.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


class QuickLoader(CParser, config_parser.CheckKeyDuplicatesYamlLoader):
    """MONAI's loader of YAML on the parser written in C: the tests read configurations thousands of times."""

    def __init__(self, stream):
        CParser.__init__(self, stream)
        SafeConstructor.__init__(self)
        Resolver.__init__(self)


config_parser.CheckKeyDuplicatesYamlLoader = QuickLoader

# Each parser of a configuration looks through all of MONAI's modules for its classes: once is enough here.
_look_through = ComponentLocator._find_classes_or_functions
_classes_of = functools.cache(lambda modules: _look_through(ComponentLocator(), modules))
ComponentLocator._find_classes_or_functions = lambda self, modules: _classes_of(tuple(modules))


KL = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": [8, 16, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 3,
    "up_block_types": ["UpDecoderBlock2D"] * 3,
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 8,
    "scaling_factor": 0.25,
}
TINY = {
    "_class_name": "AutoencoderTiny",
    "encoder_block_out_channels": [8, 8, 8],
    "decoder_block_out_channels": [8, 8, 8],
    "num_encoder_blocks": [1, 1, 2],
    "num_decoder_blocks": [2, 1, 1],
    "latent_channels": 4,
    "scaling_factor": 0.5,
}
CONFIGS = {"kl": KL, "tiny": TINY, "taef2": {**TINY, "_class_name": "AutoencoderTaef2", "latent_channels": 6}}
STABLE_DIFFUSION = {
    **KL,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}


def count_parameters(module):
    """How many numbers the parameters of a module hold."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def perturb(module):
    """Make every parameter differ, biases and normalisation weights too: exchanged layers then show."""
    for parameter in module.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return module


@pytest.fixture
def cpu_with_bfloat16(monkeypatch):
    """The CPU counts as one with instructions for bfloat16, whatever it is."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


@pytest.fixture
def make_first_stage():
    """Function (kind, **changes of its configuration) -> `FirstStage` with random weights, the same for each seed."""
    from custom.first_stage import build_first_stage

    def make(kind="kl", seed=0, **changes):
        torch.manual_seed(seed)
        first_stage = build_first_stage({**CONFIGS[kind], **changes})
        perturb(first_stage)
        return first_stage

    return make


@pytest.fixture
def make_network(make_first_stage):
    """Function (kind of first stage, **arguments of `SemiGDA`) -> network with random weights, the same each time."""
    from custom.networks import SemiGDA

    def make(kind="kl", **arguments):
        first_stage = make_first_stage(kind)
        torch.manual_seed(1)
        return SemiGDA(**{"first_stage": first_stage, "mapper_width": 8, **arguments})

    return make


@pytest.fixture(scope="session")
def stable_diffusion_first_stage():
    """The first stage at Stable Diffusion's size without any weights, on PyTorch's meta device."""
    from custom.first_stage import build_first_stage

    with torch.device("meta"):
        return build_first_stage(STABLE_DIFFUSION)


@pytest.fixture
def images():
    """Two RGB images of 16 x 16 pixels in [0, 1]."""
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def in_one_line(error):
    """The message of an error that pytest caught, which must be one line."""
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture
def message_of():
    """Function (what `pytest.raises` gave) -> its message, after checking that it is one line."""
    return in_one_line
