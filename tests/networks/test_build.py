from __future__ import annotations

import pytest
import torch
from ignite.utils import manual_seed

from custom.networks import (
    AttentionUNet,
    DiffRectNetworks,
    DistanceUNet,
    InherentConsistencyUNet,
    LabelRectifier,
    MeanTeacher,
    NetworkPair,
    PyramidUNet,
    SCDLUNet,
    SCDLUNetPair,
    SemiGDA,
    UNet,
    UNetPair,
    UNetPairWithTeachers,
    UNetWithDistances,
    UNetWithInherentConsistency,
    UNetWithPyramid,
    UNetWithRectifier,
    UNetWithTeacher,
)
from tests.conftest import CONFIGS

SMALL = {"widths": (4, 8, 8, 8, 8)}
SCDL = {**SMALL, "embedding_channels": 8, "samples": 7}
SAMPLING = {"diffusion_steps": 6, "sampling_steps": 3, "sampler": "ddpm", "clip_latent": True}


def after_seed(seed, make, *arguments, **named):
    """What `make` gives, called right after the random numbers were seeded."""
    manual_seed(seed)
    return make(*arguments, **named)


def rectified_unet(seed):
    """A U-Net of that seed, and a rectifier from the random numbers that follow."""
    return DiffRectNetworks(
        after_seed(seed, UNet, 3, 1, **SMALL), LabelRectifier(3, 1, **SMALL, denoiser_widths=(8, 8), **SAMPLING)
    )


# name: (from the arguments of one network and a seed, from its parts)
BUILT = {
    "UNet": (lambda seed: UNet(3, seed=seed, **SMALL), lambda seed: after_seed(seed, UNet, 3, **SMALL)),
    "SCDLUNet": (lambda seed: SCDLUNet(3, seed=seed, **SCDL), lambda seed: after_seed(seed, SCDLUNet, 3, **SCDL)),
    "AttentionUNet": (
        lambda seed: AttentionUNet(3, seed=seed, **SMALL),
        lambda seed: after_seed(seed, AttentionUNet, 3, **SMALL),
    ),
    "SemiGDA": (
        lambda seed: SemiGDA(CONFIGS["kl"], 3, seed=seed),
        lambda seed: after_seed(seed, SemiGDA, CONFIGS["kl"], 3),
    ),
    "UNetWithTeacher": (
        lambda seed: UNetWithTeacher(3, seed=seed, decay=0.5, **SMALL),
        lambda seed: MeanTeacher(after_seed(seed, UNet, 3, **SMALL), 0.5),
    ),
    "UNetWithPyramid": (
        lambda seed: UNetWithPyramid(3, seed=seed, **SMALL),
        lambda seed: PyramidUNet(after_seed(seed, UNet, 3, **SMALL)),
    ),
    "UNetWithInherentConsistency": (
        lambda seed: UNetWithInherentConsistency(3, 32, seed=seed, **SMALL),
        lambda seed: InherentConsistencyUNet(after_seed(seed, UNet, 3, **SMALL), 32),
    ),
    "UNetPair": (
        lambda seed: UNetPair(3, seed=seed, **SMALL),
        lambda seed: NetworkPair(after_seed(seed, UNet, 3, **SMALL), after_seed(seed + 1, UNet, 3, **SMALL)),
    ),
    "UNetPair, different": (
        lambda seed: UNetPair(3, seed=seed, second={"encoder": "resnet18", "encoder_weights": None}, **SMALL),
        lambda seed: NetworkPair(
            after_seed(seed, UNet, 3, **SMALL), after_seed(seed + 1, UNet, 3, encoder="resnet18", **SMALL)
        ),
    ),
    "UNetPairWithTeachers": (
        lambda seed: UNetPairWithTeachers(3, seed=seed, decay=0.5, **SMALL),
        lambda seed: NetworkPair(
            MeanTeacher(after_seed(seed, UNet, 3, **SMALL), 0.5),
            MeanTeacher(after_seed(seed + 1, UNet, 3, **SMALL), 0.5),
        ),
    ),
    "UNetWithDistances": (
        lambda seed: UNetWithDistances(3, seed=seed, **SMALL),
        lambda seed: DistanceUNet(after_seed(seed, UNet, 3, **SMALL)),
    ),
    "SCDLUNetPair": (
        lambda seed: SCDLUNetPair(3, seed=seed, **SCDL),
        lambda seed: NetworkPair(after_seed(seed, SCDLUNet, 3, **SCDL), after_seed(seed + 1, SCDLUNet, 3, **SCDL)),
    ),
    "UNetWithRectifier": (
        lambda seed: UNetWithRectifier(3, 1, seed=seed, **SMALL, denoiser_widths=(8, 8), **SAMPLING),
        rectified_unet,
    ),
}


@pytest.fixture(params=BUILT.values(), ids=BUILT)
def built(request):
    return request.param


def equal(one, other):
    """Whether two networks have the same names and, bit for bit, the same weights."""
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_seed_gives_the_weights_that_seeding_before_the_construction_gives(built):
    build, from_parts = built
    expected = from_parts(7)
    following = torch.rand(3)
    torch.rand(5)
    assert equal(build(7), expected)
    assert torch.equal(torch.rand(3), following)  # what is drawn next, by a run, is the same as well


def test_another_seed_gives_other_weights(built):
    assert not equal(built[0](7), built[0](8))


def test_without_a_seed_the_random_numbers_continue(built):
    build = built[0]
    torch.manual_seed(3)
    first = build(None)
    assert not equal(first, build(None))
    torch.manual_seed(3)
    assert equal(first, build(None))


def test_the_settings_reach_their_parts():
    assert UNetWithTeacher(decay=0.5, **SMALL).decay == 0.5
    assert [each.distributions.samples for each in SCDLUNetPair(**SCDL).children()] == [7, 7]
    diffusion = UNetWithRectifier(3, **SMALL, denoiser_widths=(8, 8), **SAMPLING).rectifier.diffusion
    assert (diffusion.sampling, diffusion.clip) == ([5, 2, 0], True)
    assert diffusion.solver.config.algorithm_type == "sde-dpmsolver++"


@pytest.mark.parametrize("pair", [UNetPair, SCDLUNetPair])
def test_after_the_largest_seed_comes_0(pair):
    settings = SCDL if pair is SCDLUNetPair else SMALL
    last = pair(seed=2**32 - 1, **settings)
    assert equal(last.second, type(last.second)(seed=0, **settings))


def test_the_seed_is_no_part_of_the_architecture():
    assert UNet(seed=3, **SMALL).architecture == UNet(**SMALL).architecture
    assert SemiGDA(CONFIGS["tiny"], seed=3).architecture == SemiGDA(CONFIGS["tiny"]).architecture
