"""The student of a distillation, as MONAI's commands export it: TorchScript and ONNX."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.bundle import ckpt_export, onnx_export
from monai.data import load_net_with_metadata

from custom.networks import UNet, load_model, save_model
from tests.bundles.test_model_zoo import command

SIDE = 64


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A student in half precision, whose predictions vary over an image."""
    path = tmp_path_factory.mktemp("student") / "model.pt"
    network = UNet(encoder="efficientnet-lite0", encoder_weights="imagenet", seed=0)
    with torch.no_grad():
        for seed in range(3):  # statistics of some images
            network.train()(torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)))
    save_model(network, path, {"image_size": SIDE}, half=True)
    return path


@pytest.fixture(scope="module")
def images():
    return torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def expected(model, images):
    with torch.no_grad():
        masks = load_model(model)(images)
    assert masks.std() > 0.01
    return masks


def options(model, file):
    shape = [1, 3, SIDE, SIDE]
    return command(
        model, filepath=str(file), ckpt_file=str(model), key_in_ckpt="model", use_trace=True, input_shape=shape
    )


def test_torchscript_predicts_the_same(model, images, expected, tmp_path):
    ckpt_export(**options(model, tmp_path / "model.ts"))
    network, *_ = load_net_with_metadata(str(tmp_path / "model.ts"))
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*legacy TorchScript-based ONNX")
def test_onnx_predicts_the_same_for_any_number_of_images(model, images, expected, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    axes = {"image": {0: "batch"}, "pred": {0: "batch"}}
    converter = {"dynamo": False, "input_names": ["image"], "output_names": ["pred"], "dynamic_axes": axes}
    onnx_export(**options(model, tmp_path / "model.onnx"), converter_kwargs=converter)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        (masks,) = session.run(None, {"image": images[:count].numpy()})
        np.testing.assert_allclose(masks, expected[:count].numpy(), rtol=0, atol=1e-4)
