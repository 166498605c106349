from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import custom.inferers.teacher as teacher_module
from custom.errors import InputError
from custom.inferers import add_soft_labels, class_probabilities, predict_flipped
from custom.networks import SemiGDA, UNet, save_model
from tests.conftest import CONFIGS
from tests.methods.conftest import make_unet


class Ordinal(nn.Module):
    """Gives soft labels alone, as SemiGDA does: the first colour times K - 1."""

    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes

    def soft_labels(self, images):
        return images[:, :1] * (self.num_classes - 1)


def test_soft_ordinal_labels_become_memberships():
    pixels = torch.tensor([0.0, 0.25, 0.5, 1.0]).reshape(1, 1, 1, 4)
    of_two = class_probabilities(Ordinal(2), pixels)[0, :, 0].T
    torch.testing.assert_close(of_two, torch.tensor([[1.0, 0], [0.75, 0.25], [0.5, 0.5], [0, 1]]))
    of_three = class_probabilities(Ordinal(3), pixels)[0, :, 0].T
    torch.testing.assert_close(of_three, torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0, 1]]))


@pytest.mark.parametrize("num_classes", [2, 4])
def test_probabilities_sum_to_one_and_those_of_two_classes_are_the_prediction(num_classes):
    images = torch.rand(2, 3, 32, 32)
    semigda = SemiGDA(CONFIGS["tiny"], num_classes, width=4, mapper_width=8, seed=0)
    for network in (make_unet(num_classes).eval(), semigda.eval()):
        with torch.no_grad():
            probabilities = class_probabilities(network, images)
            prediction = network(images)
        assert probabilities.shape == (2, num_classes, 32, 32)
        torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2, 32, 32))
        if num_classes == 2:
            torch.testing.assert_close(probabilities[:, 1:], prediction)


def test_the_prediction_over_flips_is_the_mean_of_four_flipped_back():
    network = make_unet().eval()
    images = torch.rand(1, 3, 32, 48)
    with torch.no_grad():
        found = predict_flipped(network, images)
        probabilities = [
            class_probabilities(network, images),
            class_probabilities(network, images.flip(2)).flip(2),
            class_probabilities(network, images.flip(3)).flip(3),
            class_probabilities(network, images.flip(2).flip(3)).flip(3).flip(2),
        ]
    torch.testing.assert_close(found, torch.stack(probabilities).mean(dim=0))
    assert (found - probabilities[0]).abs().max() > 1e-4


@pytest.fixture
def items(tmp_path):
    """Two images, the second one wider than high."""
    generator = np.random.default_rng(0)
    for name, shape in (("a.png", (32, 32, 3)), ("b.png", (40, 60, 3))):
        Image.fromarray(generator.integers(0, 255, shape, np.uint8)).save(tmp_path / name)
    return [{"image": str(tmp_path / name)} for name in ("a.png", "b.png")]


def saved(path, num_classes=2, seed=0, **details):
    """A tiny teacher; its file."""
    network = make_unet(num_classes, seed=seed)
    with torch.no_grad():
        network.heads[0].weight *= 20  # so that the predictions vary
    save_model(network, path, {"image_size": 32, **details})
    return str(path)


def written(taught):
    return [np.load(item["soft_label"]) for item in taught]


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_files_are_the_predictions_in_bytes_without_the_background(num_classes, items, tmp_path):
    from custom.networks import load_model

    teacher = saved(tmp_path / "model.pt", num_classes)
    taught = add_soft_labels(items, teacher, tmp_path / "teacher", num_classes, 32, flips=False)
    assert [item["image"] for item in taught] == [item["image"] for item in items]
    labels = written(taught)
    assert {(label.dtype, label.shape) for label in labels} == {(np.dtype(np.uint8), (num_classes - 1, 32, 32))}
    pixels = np.asarray(Image.open(items[0]["image"]), np.float32) / 255
    with torch.no_grad():
        image = torch.from_numpy(pixels).permute(2, 1, 0)[None]
        expected = class_probabilities(load_model(teacher), image)[0, 1:].numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(labels[0] / 255, expected, atol=0.5 / 255 + 1e-5)


def test_several_teachers_are_averaged_each_at_its_own_size_and_colours(items, tmp_path):
    one, two = saved(tmp_path / "1.pt"), saved(tmp_path / "2.pt", seed=1, image_size=48, bgr=True)
    names = {"one": one, "two": [two], "both": [one, two]}
    of = {name: written(add_soft_labels(items, paths, tmp_path / name, 2, 40)) for name, paths in names.items()}
    for one, two, both in zip(*of.values(), strict=True):
        assert both.shape == (1, 40, 40)
        np.testing.assert_allclose(both.astype(float), (one.astype(float) + two) / 2, atol=1)
        assert np.abs(one.astype(float) - two).max() > 5


def test_a_resumed_run_keeps_its_files_and_makes_the_missing_ones(items, tmp_path):
    teacher = saved(tmp_path / "model.pt")
    first, second = (item["soft_label"] for item in add_soft_labels(items, teacher, tmp_path / "teacher", 2, 32))
    expected = np.load(second)
    np.save(first, np.full((1, 32, 32), 7, np.uint8))
    (tmp_path / "teacher" / "000001.npy").unlink()
    kept, made = written(add_soft_labels(items, [teacher], tmp_path / "teacher", 2, 32))
    assert (kept == 7).all()
    np.testing.assert_array_equal(made, expected)


@pytest.mark.parametrize("change", ["teacher", "size", "flips", "images"])
def test_predictions_of_something_else_are_not_taken(change, items, tmp_path, message_of):
    teacher = saved(tmp_path / "model.pt")
    add_soft_labels(items, teacher, tmp_path / "teacher", 2, 32)
    if change == "teacher":
        teacher = saved(tmp_path / "other.pt", seed=1)
    items = items[::-1][:1] if change == "images" else items
    size = 40 if change == "size" else 32
    with pytest.raises(InputError, match="holds predictions of another teacher") as error:
        add_soft_labels(items, teacher, tmp_path / "teacher", 2, size, flips=change != "flips")
    message_of(error)


@pytest.mark.parametrize("fault", ["none", "empty", "missing", "foreign", "text", "classes", "size"])
def test_a_wrong_teacher_is_refused_in_one_line_before_anything_is_written(fault, items, tmp_path, message_of):
    teacher, words = {
        "none": (None, "teacher is missing: give --teacher"),
        "empty": ([], "teacher is missing: give --teacher"),
        "missing": (str(tmp_path / "no.pt"), "no checkpoint at"),
        "foreign": (str(tmp_path / "foreign.pt"), "foreign.pt is not a model file of this project"),
        "text": (str(tmp_path / "text.pt"), "is a text file"),
        "classes": ([str(tmp_path / "2.pt"), str(tmp_path / "4.pt")], "predicts 4 classes and the data have 2"),
        "size": (str(tmp_path / "size.pt"), "its image_size is many"),
    }[fault]
    torch.save({"state_dict": UNet(2, seed=0).state_dict()}, tmp_path / "foreign.pt")
    (tmp_path / "text.pt").write_text("hello")
    for classes in (2, 4):
        saved(tmp_path / f"{classes}.pt", classes)
    saved(tmp_path / "size.pt", image_size="many")
    with pytest.raises(InputError, match=words) as error:
        add_soft_labels(items, teacher, tmp_path / "teacher", 2, 32)
    assert "teacher" in message_of(error)
    assert not (tmp_path / "teacher").exists()


def test_without_unlabelled_images_no_teacher_is_needed(tmp_path):
    assert add_soft_labels([], None, tmp_path / "teacher", 2, 32) == []


def test_the_note_says_what_the_files_are_of_without_any_path(items, tmp_path):
    add_soft_labels(items, saved(tmp_path / "model.pt"), tmp_path / "teacher", 2, 32)
    note = json.loads((tmp_path / "teacher" / "teacher.json").read_text())
    assert (note["image_size"], note["flips"], len(note["teachers"])) == (32, True, 1)
    assert str(tmp_path) not in json.dumps(note)


def test_the_images_of_which_the_teacher_is_surest_come_back_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_module, "_load", lambda path, *_: teacher_module.Teacher(Ordinal(2), 8, False))
    greys = {"half.png": 140, "none.png": 20, "sure.png": 250, "fair.png": 200}  # of the left half; the right is black
    for name, grey in greys.items():
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[:, :4] = grey
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "model.pt").write_bytes(b"any")
    items = [{"image": str(tmp_path / name)} for name in greys]

    def kept(share):
        taught = add_soft_labels(items, str(tmp_path / "model.pt"), tmp_path / "soft", 2, 8, False, kept_share=share)
        for item in taught:  # a prediction stays with its image
            grey = greys[item["image"].rsplit("/", 1)[1]]
            assert np.load(item["soft_label"])[0].max() == grey
        return [item["image"].rsplit("/", 1)[1] for item in taught]

    assert kept(1.0) == list(greys)
    assert kept(0.75) == ["half.png", "sure.png", "fair.png"]
    assert kept(0.5) == kept(0.3) == ["sure.png", "fair.png"]  # rounded up
    assert kept(0.01) == ["sure.png"]


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_a_share_of_none_or_more_than_all_is_refused_before_anything_is_written(share, items, tmp_path):
    with pytest.raises(InputError, match=r"kept_share .*: give a share above 0, at most 1"):
        add_soft_labels(items, saved(tmp_path / "model.pt"), tmp_path / "teacher", 2, 32, kept_share=share)
    assert not (tmp_path / "teacher").exists()
