from __future__ import annotations

import numpy as np
import torch

from custom.tracking.figures import scalars


def test_numbers_of_python_numpy_and_torch_are_scalars_under_the_names_of_their_mappings():
    values = {"a": 1, "b": {"c": np.float32(2), "d": {"e": torch.tensor(3.0)}}}
    assert dict(scalars(values)) == {"a": 1.0, "b/c": 2.0, "b/d/e": 3.0}


def test_arrays_texts_and_missing_values_are_left_out():
    assert dict(scalars({"array": np.zeros(1), "tensor": torch.zeros(2, 2), "text": "1", "missing": None})) == {}
