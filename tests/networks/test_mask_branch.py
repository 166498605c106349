from __future__ import annotations

import pytest
import torch

from custom.inferers import class_probabilities
from custom.labels import PaletteCodec
from custom.networks import MaskBranch, SemiGDA
from tests.conftest import CONFIGS

SETTINGS = {"width": 4, "first_stage_scale": 0.5, "dropout": 0.0, "seed": 0}


def make(num_classes=2, kind="kl"):
    return MaskBranch(CONFIGS[kind], num_classes, **SETTINGS).eval()


@pytest.mark.parametrize("kind", ["kl", "tiny"])
def test_it_paints_what_the_mask_branch_of_semigda_paints(kind):
    branch, images = make(kind=kind), torch.rand(2, 3, 32, 48)
    whole = SemiGDA(CONFIGS[kind], mapper_width=8, encoder="efficientnet-lite0", image_branch_weight=0, **SETTINGS)
    state = branch.state_dict()
    own = {name: value for name, value in whole.state_dict().items() if name in state}
    assert own.keys() == state.keys()
    branch.load_state_dict(own)
    with torch.no_grad():
        torch.testing.assert_close(branch.generate(images), whole.eval().generate(images))


def test_the_foreground_of_a_grey_g_has_the_probability_sigmoid_6g(monkeypatch):
    branch = make()
    grey = torch.tensor([-1.5, -1.0, 0.0, 0.2, 1.0]).reshape(1, 1, 1, 5)
    monkeypatch.setattr(branch, "generate", lambda _: grey.expand(-1, 3, -1, -1))
    branch.reduction = 1
    torch.testing.assert_close(branch(torch.empty(0)), torch.sigmoid(6 * grey))
    logits = branch.logits(torch.empty(0))
    torch.testing.assert_close(logits.softmax(dim=1)[:, 1:], torch.sigmoid(6 * grey))


def test_with_more_classes_the_softmax_of_the_logits_is_the_membership_of_the_palette(monkeypatch):
    branch, painted = make(4), torch.rand(1, 3, 8, 8) * 2 - 1
    monkeypatch.setattr(branch, "generate", lambda _: painted)
    branch.reduction = 1
    torch.testing.assert_close(branch.logits(painted).softmax(dim=1), PaletteCodec(4).decode(painted))
    assert branch.hard_labels
    assert branch(painted).unique().tolist() == PaletteCodec(4).decode(painted).argmax(dim=1).unique().tolist()


def test_pixels_beyond_black_and_white_still_have_a_gradient():
    """The clamped soft labels of SemiGDA have none there."""
    codec, grey = PaletteCodec(2), torch.full((1, 3, 1, 1), -1.2, requires_grad=True)
    torch.nn.functional.cross_entropy(codec.logits(grey), torch.ones(1, 1, 1, dtype=torch.long)).backward()
    assert grey.grad.abs().sum() > 1


def test_it_holds_nothing_of_the_image_branch():
    branch = make()
    names = branch.state_dict()
    assert not any("latent_mapper" in name or "image_adapters" in name for name in names)
    assert not any(name.startswith("first_stage.autoencoder.encoder") for name in names)
    assert branch.branches == ("prediction",)
    assert class_probabilities(branch, torch.rand(1, 3, 32, 32)).shape == (1, 2, 32, 32)
