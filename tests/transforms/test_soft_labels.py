from __future__ import annotations

import numpy as np
import pytest
import torch

from custom.errors import InputError
from custom.transforms import LoadSoftLabeld


def test_a_soft_label_gets_the_size_of_its_image_and_values_from_0_to_1(tmp_path):
    values = np.zeros((3, 32, 32), np.uint8)
    values[1, :16], values[2] = 255, 51
    np.save(tmp_path / "0.npy", values)
    item = {"image": torch.rand(3, 64, 48), "soft_label": str(tmp_path / "0.npy")}
    label = LoadSoftLabeld("soft_label")(item)["soft_label"]
    assert (label.shape, label.dtype) == ((3, 64, 48), torch.float32)
    assert (label[1, :30] == 1).all() and (label[1, 34:] == 0).all()  # the first axis stays the first
    torch.testing.assert_close(label[2], torch.full((64, 48), 0.2), check_dtype=False)
    assert not label[0].any()


def test_items_without_one_stay_as_they_are():
    item = {"image": torch.rand(3, 4, 4)}
    assert LoadSoftLabeld("soft_label", allow_missing_keys=True)(item) == item
    with pytest.raises(KeyError):
        LoadSoftLabeld("soft_label")(item)


@pytest.mark.parametrize("content", [None, b"", b"hello", "floats"])
def test_a_missing_or_damaged_file_is_named(content, tmp_path, message_of):
    path = tmp_path / "0.npy"
    if content == "floats":
        np.save(path, np.zeros((1, 4, 4)))
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="0.npy is no prediction of a teacher") as error:
        LoadSoftLabeld("soft_label")({"image": torch.rand(3, 4, 4), "soft_label": str(path)})
    message_of(error)
