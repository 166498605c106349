import copy

import pytest
import torch
from monai.bundle import ckpt_export

from custom.networks import SemiGDA, UNet, load_model, save_model
from tests.conftest import CONFIGS, perturb

SIZES = [(1, 3, 64, 64), (3, 3, 128, 64), (2, 3, 96, 160)]


def networks():
    torch.manual_seed(0)
    yield "unet", UNet(widths=(4, 4, 8, 8, 8), seed=0)
    yield "unet of four classes", UNet(num_classes=4, widths=(4, 4, 8, 8, 8), seed=0)
    yield "lite", UNet(encoder="efficientnet-lite0", seed=0)
    yield "resnet", UNet(encoder="resnet18", seed=0)
    yield "semigda", perturb(SemiGDA(CONFIGS["kl"], width=4, mapper_width=8))
    yield "palette", perturb(SemiGDA(CONFIGS["tiny"], num_classes=3, width=4, mapper_width=8, label_code="palette"))
    yield (
        "semigda_plus",
        perturb(
            SemiGDA(
                CONFIGS["tiny"], encoder="efficientnet-lite0", width=4, mapper_width=8, first_stage_scale=0.5,
                image_branch_weight=0,
            )
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("name", "network"), networks(), ids=lambda value: value if isinstance(value, str) else "")
def test_scripting_gives_the_same_masks_at_other_sizes_and_batches(name, network):
    network.eval()
    before = copy.deepcopy(network.state_dict())
    scripted = torch.jit.script(network)
    for size in SIZES:
        images = torch.rand(size)
        with torch.no_grad():
            expected = network(images)
            torch.testing.assert_close(scripted(images), expected, rtol=0, atol=1e-5)
        assert expected.shape == (size[0], 1, *size[2:])
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("half", [False, True])
def test_the_content_of_a_model_file_is_loaded_for_the_weights_in_it(tmp_path, half):
    trained, other = UNet(widths=(4, 4, 8, 8, 8), seed=0).eval(), UNet(widths=(4, 4, 8, 8, 8), seed=1).eval()
    save_model(trained, tmp_path / "model.pt", half=half)
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    loaded = load_model(tmp_path / "model.pt")
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in other.state_dict().items())
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({"model": {}, "architecture": {}})
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({})


def test_monai_s_export_with_its_defaults(tmp_path):
    """Scripting, and a checkpoint without the name of an entry: what the model zoo calls."""
    network = UNet(widths=(4, 4, 8, 8, 8), seed=0).eval()
    save_model(network, tmp_path / "model.pt")
    (tmp_path / "config.yaml").write_text("network_def: {_target_: custom.networks.UNet, widths: [4, 4, 8, 8, 8]}\n")
    (tmp_path / "metadata.json").write_text("{}")
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        ckpt_file=str(tmp_path / "model.pt"),
        meta_file=str(tmp_path / "metadata.json"),
        config_file=str(tmp_path / "config.yaml"),
    )
    images = torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        assert torch.allclose(torch.jit.load(str(tmp_path / "model.ts"))(images), network(images), atol=1e-5)
