"""What MLflow loads and serves: a script in MLflow's form "models from code", kept with the logged model.

No network is pickled: the model is the `model.pt` of the run, read by `load_model`.
"""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
import torch
from monai.transforms import Resize

from custom.networks import load_model, model_details


class SegmentationModel(mlflow.pyfunc.PythonModel):
    """RGB images [N, H, W, 3], uint8 -> class indices [N, H, W], uint8: those of the bundle's inference."""

    def load_context(self, context: Any) -> None:
        """Read the network from the artifact "model"."""
        path = context.artifacts["model"]
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = load_model(path).to(self.device)
        self.image_size = model_details(path).get("image_size", 224)

    @torch.no_grad()
    def predict(self, context: Any, model_input: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:
        """Classes of each pixel at the images' own size."""
        return np.stack([self._segment(image) for image in model_input])

    def _segment(self, image: np.ndarray) -> np.ndarray:
        colours = torch.from_numpy(np.ascontiguousarray(image.T)).float() / 255  # [3, W, H], as MONAI reads a file
        inputs = Resize((self.image_size,) * 2, mode="bilinear")(colours)
        soft = self.network(inputs[None].to(self.device))[0].cpu()
        mode = "nearest" if self.network.hard_labels else "bilinear"
        return Resize(colours.shape[1:], mode=mode)(soft)[0].round().numpy().astype(np.uint8).T


mlflow.models.set_model(SegmentationModel())
