from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from PIL import Image

from custom.data import find_bit_depth, model_bit_depth
from custom.errors import InputError


@pytest.fixture
def splits(tmp_path):
    """An image of 8 bits, one of 10 bits for training and one of 12 for validation; one of 16 bits for the test."""
    items = {}
    for split, highest in (("labelled", 255), ("unlabelled", 1000), ("validation", 4000), ("test", 60000)):
        path = tmp_path / f"{split}.png"
        Image.fromarray(np.array([[0, highest]], np.uint8 if highest < 256 else np.uint16)).save(path)
        items[split] = [{"image": str(path)}]
    return items


@pytest.fixture
def datalist(tmp_path):
    def write(**content):
        (tmp_path / "datalist.json").write_text(json.dumps(content))
        return tmp_path / "datalist.json"

    return write


def test_all_images_for_training_and_validation_are_looked_at(splits):
    assert find_bit_depth(splits) == 12
    splits["validation"] = []
    assert find_bit_depth(splits) == 10
    splits["unlabelled"] = []
    assert find_bit_depth(splits) is None


def test_what_the_datalist_states_comes_first(splits, datalist):
    assert find_bit_depth(splits, datalist(bit_depth=14)) == 14
    assert find_bit_depth(splits, datalist()) == 12
    assert find_bit_depth(splits, datalist(bit_depth=14), known=16) == 14


def test_a_model_keeps_its_depth(splits):
    assert find_bit_depth(splits, known=11) == 11


def test_broken_images_are_left_to_the_check(splits):
    with open(splits["validation"][0]["image"], "wb") as file:
        file.write(b"garbage")
    assert find_bit_depth(splits) == 10


def test_the_model_decides_in_an_evaluation_and_another_depth_is_a_warning(datalist, caplog):
    with caplog.at_level(logging.WARNING):
        assert model_bit_depth({"bit_depth": 12}, datalist(bit_depth=12)) == 12
        assert model_bit_depth({}, datalist()) == 16
        assert model_bit_depth({"bit_depth": None}, datalist()) is None
        assert not caplog.records
        assert model_bit_depth({"bit_depth": 12}, datalist(bit_depth=10)) == 12
    assert "bit_depth of 10" in caplog.text


@pytest.mark.parametrize("value", [7, 17, "12", True, 12.0, [12]])
def test_another_depth_than_8_to_16_is_refused(splits, datalist, value):
    with pytest.raises(InputError, match='"bit_depth" is .*8 to 16'):
        find_bit_depth(splits, datalist(bit_depth=value))
