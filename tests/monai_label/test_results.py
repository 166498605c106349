from __future__ import annotations

import pytest
import torch

from custom.checkpoints.untrained import mark_as_untrained
from custom.monai_label import DescribeResultd


@pytest.fixture
def model(tmp_path):
    """A model file whose content does not matter."""
    path = tmp_path / "model.pt"
    path.write_bytes(b"")
    return path


def item(**changes):
    """What inference hands over: of 2 x 2 pixels one is marked by both branches, one by one of them."""
    return {
        "pred": torch.tensor([[1, 0], [0, 0]], dtype=torch.uint8),
        "probability": torch.tensor([[[1, 0.5], [0, 0]]]),
        "disagreement": torch.tensor([[[0.0, 1], [0, 0]]]),
        "image_path": "/studies/a.png",
        **changes,
    }


def test_the_answer_holds_share_and_disagreement(model):
    described = DescribeResultd("pred", model)(item())
    assert described["result"] == {"trained": True, "foreground_share": 0.25, "disagreement": 0.5}
    assert described["pred"].tolist() == [[1, 0], [0, 0]]


def test_every_class_counts_as_foreground_once(model):
    mask = torch.tensor([[3, 0], [1, 0]], dtype=torch.uint8)
    assert DescribeResultd("pred", model)(item(pred=mask))["result"]["foreground_share"] == 0.5


def test_what_the_answer_holds_already_stays(model):
    result = DescribeResultd("pred", model)(item(result={"label": "lesion"}))["result"]
    assert result["label"] == "lesion"
    assert result["trained"] is True


def test_the_given_item_stays_as_it_is(model):
    mark_as_untrained(model)
    given = item(result={"label": "lesion"}, image_path="/studies/a.jpg")
    DescribeResultd("pred", model)(given)
    assert given["result"] == {"label": "lesion"}
    assert given["pred"].sum() == 1
    assert "result_extension" not in given


def test_an_untrained_model_marks_nothing_and_is_called_untrained(model):
    mark_as_untrained(model)
    described = DescribeResultd("pred", model)(item())
    assert described["pred"].tolist() == [[0, 0], [0, 0]]
    assert described["pred"].dtype == torch.uint8
    assert described["result"]["trained"] is False
    assert described["result"]["foreground_share"] == 0


def test_a_model_that_is_trained_meanwhile_answers_at_once(model):
    mark_as_untrained(model)
    describe = DescribeResultd("pred", model)
    assert not describe(item())["result"]["trained"]
    model.with_name("UNTRAINED.txt").unlink()
    assert describe(item())["result"]["trained"]


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG"])
def test_the_mask_of_a_jpeg_image_becomes_a_png_file(name, model):
    assert DescribeResultd("pred", model)(item(image_path=f"/studies/{name}"))["result_extension"] == ".png"


def test_the_mask_of_a_jpeg_image_gets_the_format_that_the_request_names(model):
    described = DescribeResultd("pred", model)(item(image_path="/studies/a.jpg", result_extension=".nii.gz"))
    assert described["result_extension"] == ".nii.gz"


@pytest.mark.parametrize("name", ["a.png", "a.jpg.png", "jpg"])
def test_masks_of_other_images_keep_the_images_format(name, model):
    assert "result_extension" not in DescribeResultd("pred", model)(item(image_path=f"/studies/{name}"))
