"""Milliseconds an image on one thread: PyTorch, ONNX Runtime, and ONNX Runtime with 8-bit weights and activations.

python -m scripts.onnx_speed --checkpoint model.pt --int8          an untrained student without --checkpoint
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from custom.command_line import Command, PathTo, WholeNumber, run_command
from scripts.training_step import measure

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from torch import Tensor, nn

__all__ = ["main", "quantise", "to_onnx"]


def to_onnx(network: nn.Module, image: Tensor, file: Path) -> None:
    """Write a network as ONNX for any number of images of any size, as the command of the bundles' documents does."""
    import torch

    free = {0: "batch", 2: "height", 3: "width"}
    axes = {"image": free, "pred": free}
    names = {"input_names": ["image"], "output_names": ["pred"]}
    torch.onnx.export(network, (image,), str(file), dynamo=False, dynamic_axes=axes, **names)


def quantise(source: Path, target: Path, images: list[np.ndarray]) -> None:
    """Write an ONNX model with 8-bit weights and activations, whose ranges are those that the images give."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(({"image": image} for image in self.left), None)

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "quant_format": QuantFormat.QDQ}
    quantize_static(str(prepared), str(target), Reader(), per_channel=True, op_types_to_quantize=["Conv"], **kinds)


def _session(file: Path, profile: Path | None = None) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _shares(file: Path, image: np.ndarray, folder: Path, runs: int = 10) -> dict[str, float]:
    """Milliseconds an image in each kind of operation, the longest first."""
    session = _session(file, folder / "profile")
    for _ in range(runs):
        session.run(None, {"image": image})
    times: dict[str, float] = {}
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and (kind := event.get("args", {}).get("op_name")):
            times[kind] = times.get(kind, 0) + event["dur"] / 1000 / runs
    return {kind: round(time, 2) for kind, time in sorted(times.items(), key=lambda pair: -pair[1])}


@click.command(cls=Command, help=__doc__.splitlines()[0])
@click.option("--checkpoint", type=PathTo("file"), metavar="FILE", help="model.pt (default: an untrained student).")
@click.option("--image-size", type=WholeNumber(8, 4096), default=224, metavar="PIXELS")
@click.option("--repeats", type=WholeNumber(1, 100_000), default=20, metavar="N")
@click.option("--int8", is_flag=True, help="Also quantised, with ranges of random images.")
@click.option("--profile", is_flag=True, help="Also the time in each kind of operation.")
def command(checkpoint: Path | None, image_size: int, repeats: int, int8: bool, profile: bool) -> dict[str, Any]:
    """Measure."""
    import torch

    from custom.networks import UNet, load_model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = UNet(encoder="efficientnet-lite0", seed=0).eval() if checkpoint is None else load_model(checkpoint)
    image = torch.rand(1, 3, image_size, image_size)
    with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
        folder = Path(temporary)
        files = {"onnx": folder / "model.onnx"}
        to_onnx(network, image, files["onnx"])
        if int8:
            files["onnx_int8"] = folder / "int8.onnx"
            quantise(files["onnx"], files["onnx_int8"], [torch.rand_like(image).numpy() for _ in range(4)])
        sessions = {name: _session(file) for name, file in files.items()}
        feed = {"image": image.numpy()}
        expected = network(image).numpy()
        calls = {"pytorch": lambda: network(image)}
        calls |= {name: lambda session=session: session.run(None, feed) for name, session in sessions.items()}
        seconds = measure(calls, repeats, image.device)
        result: dict[str, Any] = {
            "image_size": image_size,
            "milliseconds": {name: round(1000 * value, 1) for name, value in seconds.items()},
            "largest_difference": {
                name: float(abs(session.run(None, feed)[0] - expected).max()) for name, session in sessions.items()
            },
            "megabytes": {name: round(file.stat().st_size / 1e6, 1) for name, file in files.items()},
        }
        if profile:
            result["milliseconds_by_operation"] = {
                name: _shares(file, feed["image"], folder) for name, file in files.items()
            }
    print(json.dumps(result, indent=1))
    return result


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the measurement, print it as JSON and return it."""
    return run_command(command, arguments, "python -m scripts.onnx_speed")


if __name__ == "__main__":
    main()
