"""The student of a distillation, as MONAI's commands export it: TorchScript and ONNX."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.bundle import ckpt_export, onnx_export
from monai.data import load_net_with_metadata

from custom.networks import MaskBranch, UNet, load_model, save_model
from tests.bundles.test_model_zoo import command
from tests.conftest import CONFIGS

SIDE = 64


STUDENTS = {
    "UNet": lambda: UNet(encoder="efficientnet-lite0", encoder_weights="imagenet", seed=0),
    "MaskBranch": lambda: MaskBranch(CONFIGS["kl"], width=8, encoder_weights="imagenet", seed=0),
}


@pytest.fixture(scope="module", params=STUDENTS.values(), ids=STUDENTS)
def model(request, tmp_path_factory):
    """A student in half precision, whose predictions vary over an image."""
    path = tmp_path_factory.mktemp("student") / "model.pt"
    network = request.param()
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
def test_onnx_predicts_the_same_for_any_number_of_images_of_any_size(model, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    free = {0: "batch", 2: "height", 3: "width"}
    axes = {"image": free, "pred": free}
    converter = {"dynamo": False, "input_names": ["image"], "output_names": ["pred"], "dynamic_axes": axes}
    onnx_export(**options(model, tmp_path / "model.onnx"), converter_kwargs=converter)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    network = load_model(model)
    for count, height, width in ((1, SIDE, SIDE), (3, SIDE, SIDE), (2, 96, 160)):
        images = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(5))
        (masks,) = session.run(None, {"image": images.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(masks, network(images).numpy(), rtol=0, atol=1e-4)
