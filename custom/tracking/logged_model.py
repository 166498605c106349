"""A trained network in MLflow's own format, which `mlflow.pyfunc.load_model` loads and `mlflow models serve` serves."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["write_mlflow_model"]

PACKAGES = ("torch", "monai", "diffusers", "numpy", "pytorch-ignite", "pydantic", "lazy-loader", "safetensors")
"""What loading and predicting need, beside MLflow."""


def write_mlflow_model(model_file: str | os.PathLike[str], folder: str | os.PathLike[str]) -> None:
    """Write a `model.pt` as a folder in MLflow's format, with signature, input example, requirements and our code.

    The model takes RGB images [N, H, W, 3] (uint8, of any size) and gives class indices [N, H, W] (uint8).

    Args:
        model_file: a `model.pt`.
        folder: a folder that does not exist yet.
    """
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    pixels = np.dtype(np.uint8)
    signature = ModelSignature(
        Schema([TensorSpec(pixels, (-1, -1, -1, 3))]), Schema([TensorSpec(pixels, (-1, -1, -1))])
    )
    here = Path(__file__).parent
    mlflow.pyfunc.save_model(
        str(folder),
        python_model=str(here / "served_model.py"),
        artifacts={"model": str(model_file)},
        code_paths=[str(here.parent)],
        signature=signature,
        input_example=np.zeros((1, 32, 32, 3), np.uint8),
        pip_requirements=[f"mlflow=={mlflow.__version__}", *_requirements()],
    )


def _requirements() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name}=={version(name).partition('+')[0]}")  # without the build, which no index has
        except PackageNotFoundError:
            found.append(name)
    return found
