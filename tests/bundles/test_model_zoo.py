"""What the model zoo checks of a bundle, and MONAI's own export commands."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ckpt_export, verify_metadata, verify_net_in_out
from monai.data import load_net_with_metadata
from PIL import Image

from custom.export import export_bundle
from custom.networks import load_model, save_model
from tests.bundles.conftest import CONFIGS, ROOT
from tests.copies import run_module

SCHEMA = ROOT / "tests" / "bundles" / "metadata_schema.json"
METADATA = json.loads((CONFIGS / "metadata.json").read_text())
# These run with what is installed beside MONAI Label; a bundle is complete without monailabel and fastapi.
NEED_MONAI_LABEL = {
    f"monai_label/{name}.py"
    for name in ("allowed", "answers", "app/main", "datastore", "dicom_store", "disagreement", "guard", "server")
}


def verify(metadata, tmp_path):
    """MONAI's check of metadata, offline: it downloads the schema only if it is not there yet."""
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(SCHEMA))


def test_the_metadata_fits_the_specification(tmp_path):
    verify(METADATA, tmp_path)


@pytest.mark.parametrize("key", json.loads(SCHEMA.read_text())["required"])
def test_metadata_without_a_required_key_is_refused(key, tmp_path):
    with pytest.raises(ValueError, match=rf"['`]{key}['`] (is a required property|field)"):
        verify({name: value for name, value in METADATA.items() if name != key}, tmp_path)


def test_optional_packages_are_refused_because_monai_takes_them_for_the_required_ones(tmp_path):
    with pytest.raises(ValueError, match="False schema"):
        verify({**METADATA, "optional_packages_version": {"mlflow": "3.17.2"}}, tmp_path)


def test_the_metadata_describes_shapes_in_integers_because_the_zoo_takes_every_other_one_as_one_pixel():
    for tensors in METADATA["network_data_format"].values():
        assert all(isinstance(length, int) for tensor in tensors.values() for length in tensor["spatial_shape"])


def test_the_version_is_in_the_changelog():
    assert METADATA["version"] in METADATA["changelog"]


def test_the_packages_are_those_the_code_imports_at_the_versions_of_the_requirements():
    requirements = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    packages = METADATA["required_packages_version"]
    own = {f"{name}_version": requirements[package] for name, package in zip(
        ("monai", "pytorch", "numpy"), ("monai", "torch", "numpy"), strict=True)}  # fmt: skip
    assert {key: METADATA[key] for key in own} == own
    assert packages == {name: requirements[name] for name in packages}
    modules = {"ignite": "pytorch-ignite", "PIL": "pillow", "skimage": "scikit-image", "lazy_loader": "lazy-loader"}
    come_along = {"monai", "torch", "numpy", "safetensors", "huggingface_hub"}  # the last two with diffusers
    assert {modules.get(name, name) for name in imported_when_loaded()} - come_along <= set(packages)


def imported_when_loaded():
    """Top-level names of the third-party modules that the modules of `custom` import as they are loaded."""
    names = set()
    modules = {path.relative_to(ROOT / "custom").as_posix(): path for path in (ROOT / "custom").rglob("*.py")}
    assert modules.keys() > NEED_MONAI_LABEL
    for path in (modules[name] for name in modules.keys() - NEED_MONAI_LABEL):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"custom"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """`model.pt` of a tiny network whose masks vary over an image."""
    from custom.networks import SemiGDA
    from tests.conftest import CONFIGS as FIRST_STAGES
    from tests.conftest import perturb

    torch.manual_seed(0)
    network = perturb(SemiGDA(FIRST_STAGES["kl"], width=4, mapper_width=8))
    path = tmp_path_factory.mktemp("models") / "model.pt"
    save_model(network, path)
    return path


def command(model, **more):
    """What the commands have in common."""
    return {
        "net_id": "network_def",
        "config_file": str(CONFIGS / "inference.yaml"),
        "meta_file": str(CONFIGS / "metadata.json"),
        "checkpoint": str(model),
        **more,
    }


def test_the_network_takes_and_gives_what_the_metadata_states(model):
    verify_net_in_out(**command(model, device="cpu", n=1, p=1, any=1))


def test_a_network_of_other_channels_is_noticed(model):
    with pytest.raises(ValueError, match="output channel number"):
        verify_net_in_out(**command(model, device="cpu", **{"_meta_#network_data_format#outputs#pred#num_channels": 2}))


@pytest.fixture
def image(phantom):
    """An image of the phantom set as the network gets it, [1, 3, 32, 32]."""
    path = min((phantom / "images").iterdir())
    pixels = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 1, 0)[None].contiguous()


@pytest.fixture
def expected(model, image):
    with torch.no_grad():
        mask = load_model(model)(image)
    assert mask.std() > 0.01
    return mask


def test_torchscript_predicts_the_same_mask(model, image, expected, tmp_path):
    file = tmp_path / "model.ts"
    ckpt_export(
        **command(
            model, filepath=str(file), ckpt_file=str(model), key_in_ckpt="model", use_trace=True,
            input_shape=[1, 3, 32, 32],
        )
    )  # fmt: skip
    network, metadata, _ = load_net_with_metadata(str(file))
    with torch.no_grad():
        torch.testing.assert_close(network(image), expected, rtol=0, atol=1e-5)
        batch = torch.cat([image, 1 - image])
        torch.testing.assert_close(network(batch), load_model(model)(batch), rtol=0, atol=1e-5)
    assert metadata["network_data_format"] == METADATA["network_data_format"]


def documented_command(name, model, folder):
    """The words of a command as in the bundle's document, with model, shape and output folder put in."""
    document = (CONFIGS.parent / "docs" / "README.md").read_text()
    (found,) = re.findall(rf"^python -m (monai\.bundle {name} (?:.*\\\n)*.*)$", document, re.MULTILINE)
    for word, own in (("MODEL", model), ("224,224", "32,32"), ("--filepath model", f"--filepath {folder}/model")):
        assert word in found
        found = found.replace(word, str(own))
    return shlex.split(found.replace("\\\n", ""))


def test_the_documented_command_makes_onnx_that_predicts_the_same_mask(model, image, expected, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    process = run_module(*documented_command("onnx_export", model, tmp_path))
    assert process.returncode == 0, process.stderr[-4000:]
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    (mask,) = session.run(["pred"], {"image": image.numpy()})
    np.testing.assert_allclose(mask, expected.numpy(), rtol=0, atol=1e-4)
    (masks,) = session.run(["pred"], {"image": np.concatenate([image, image])})
    np.testing.assert_allclose(masks[1:], expected.numpy(), rtol=0, atol=1e-4)


def test_the_zoo_s_own_checks_pass_on_every_exported_bundle(model, tmp_path):
    """With the shipped model where there is one; see `verify_as_the_zoo.py`."""
    bundles = sorted((ROOT / "bundles").iterdir())
    for bundle in bundles:
        own = (bundle / "models" / "model.pt").is_file()
        export_bundle(bundle, tmp_path / "models" / bundle.name, checkpoint=None if own else model)
    script = Path(__file__).with_name("verify_as_the_zoo.py")
    folders = [str(tmp_path / "models" / bundle.name) for bundle in bundles]
    process = subprocess.run(
        [sys.executable, "-I", str(script), *folders], cwd="/", capture_output=True, text=True, timeout=600
    )
    assert process.returncode == 0, process.stderr[-4000:]
    seen = json.loads(process.stdout.splitlines()[-1])
    assert set(seen) == {bundle.name for bundle in bundles}
    for found in seen.values():
        assert found["files"]
        assert found["difference"] < 1e-5 < found["spread"]
