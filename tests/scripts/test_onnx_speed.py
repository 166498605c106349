from __future__ import annotations

import pytest

from custom.networks import save_model
from scripts.onnx_speed import main
from tests.methods.conftest import make_unet


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*legacy TorchScript-based ONNX")
def test_it_times_a_model_and_says_how_far_its_exports_are_off(tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    save_model(make_unet(), tmp_path / "model.pt")
    options = [
        "--checkpoint",
        str(tmp_path / "model.pt"),
        "--image-size",
        "32",
        "--repeats",
        "1",
        "--int8",
        "--profile",
    ]
    result = main(options)
    assert result["milliseconds"].keys() == {"pytorch", "onnx", "onnx_int8"}
    assert result["largest_difference"]["onnx"] < 1e-4
    assert result["largest_difference"]["onnx_int8"] < 0.2
    assert "Conv" in result["milliseconds_by_operation"]["onnx"]
    assert '"megabytes"' in capsys.readouterr().out
