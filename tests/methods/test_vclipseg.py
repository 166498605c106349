from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.methods import VCLIPSeg
from custom.methods.trainer import Batch
from custom.methods.vclipseg import decoder_weights, foreground_dice_loss, text_similarity_loss
from custom.networks import VCLIPSegNetworks
from tests.methods.conftest import WIDTHS, make_batch, make_trainer, run


class PixelNetworks(nn.Module):
    """The colours are the logits of one decoder, twice the colours those of the other, and the projections too."""

    def __init__(self, text_vectors):
        super().__init__()
        self.register_buffer("text_vectors", text_vectors)
        self.scale = nn.Parameter(torch.ones(1))

    def all_logits_with_projections(self, images):
        images = self.scale * images
        return [images[:, :2], 2 * images[:, :2]], [images[:, :2], 3 * images[:, :2]]


def trainer_of(network, **options):
    return make_trainer(VCLIPSeg, network, [{}], **options)


def logits_of(classes, num_classes):
    """Logits that say a class at each pixel, from class indices [B, H, W]."""
    return nn.functional.one_hot(classes, num_classes).movedim(-1, 1).float()


# The terms


def test_dice_is_that_of_the_foreground_over_the_batch_without_squares():
    logits = torch.zeros(2, 3, 1, 2)
    labels = torch.tensor([[0.0, 1.0], [1.0, IGNORED_LABEL]]).reshape(2, 1, 1, 2)
    # p = 1/3 everywhere, three pixels count: class 1 has two of them, class 2 none
    first, second = 1 - 2 * (2 / 3) / (3 / 3 + 2), 1.0
    assert foreground_dice_loss()(logits, labels).item() == pytest.approx((first + second) / 2, abs=1e-6)


def test_the_weights_of_two_decoders_prefer_the_smaller_loss_and_stay_close_to_a_half():
    first, second = decoder_weights(torch.tensor([0.0, 1.0])).tolist()
    q = 0.5, 1 - 1 / (1 + math.exp(-1))
    assert first == pytest.approx(math.exp(q[0]) / (math.exp(q[0]) + math.exp(q[1])))
    assert first + second == pytest.approx(1)
    assert 0.5 < first < 0.558


def test_pseudo_labels_are_those_of_the_weighted_mean_for_all_rows():
    trainer = trainer_of(PixelNetworks(torch.eye(2)))
    one, other = torch.tensor([0.0, 1.0]), torch.tensor([1.001, 0.0])  # the other one is a little surer
    logits = [each.reshape(1, 2, 1, 1) for each in (one, other)]
    assert trainer.pseudo_labels(logits, torch.tensor([0.5, 0.5])).item() == 0
    assert trainer.pseudo_labels(logits, torch.tensor([0.0, 1.0])).item() == 1


def test_similarity_is_taken_where_label_and_both_predictions_agree():
    true = torch.tensor([[[0, 0, 1, 1]]])
    first, second = torch.tensor([[[0, 1, 1, 1]]]), torch.tensor([[[0, 0, 1, 0]]])  # both right at 0 and 2
    features = [torch.randn(1, 2, 1, 4), torch.randn(1, 2, 1, 4)]
    text = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    loss = text_similarity_loss(features, [logits_of(each, 2) for each in (first, second)], true[:, None].float(), text)
    cosines = []
    for position, vector in ((0, text[0]), (2, text[1])):
        mean = (features[0][0, :, 0, position] + features[1][0, :, 0, position]) / 2
        cosines.append((mean @ vector / (mean.norm() * vector.norm())).item())
    assert loss.item() == pytest.approx(1 - sum(cosines) / 2, abs=1e-5)


@pytest.mark.parametrize("missing", ["one class", "all classes"])
def test_classes_without_an_agreeing_position_are_left_out_and_nothing_is_nan(missing):
    label = torch.zeros(1, 1, 1, 2) if missing == "one class" else torch.full((1, 1, 1, 2), float(IGNORED_LABEL))
    features = torch.tensor([[[[0.0, 0.0]], [[1.0, 1.0]]]]).requires_grad_()
    predictions = logits_of(torch.zeros(1, 1, 2, dtype=torch.long), 2)
    loss = text_similarity_loss([features, features], [predictions, predictions], label, torch.eye(2))
    loss.backward()
    assert loss.item() == pytest.approx(1.0 if missing == "one class" else 0.0)  # at right angles to the first vector
    assert features.grad.isfinite().all()
    assert features.grad.any() == (missing == "one class")


def test_labels_and_logits_are_resized_to_the_features_by_the_nearest_pixel():
    label = torch.tensor([[0.0, 9.0, 1.0, 9.0]]).reshape(1, 1, 1, 4)
    logits = logits_of(torch.tensor([[[0, 1, 1, 0]]]), 2)
    features = torch.tensor([[[[1.0, 0.0]], [[0.0, -1.0]]]])  # the first vector, and the opposite of the second
    assert text_similarity_loss([features], [logits], label, torch.eye(2)).item() == pytest.approx(1 - (1 - 1) / 2)


def test_the_loss_is_the_sum_of_its_weighted_terms_and_pseudo_labels_get_no_gradient():
    network = PixelNetworks(torch.eye(2))
    images, labels = torch.rand(2, 3, 4, 4), torch.randint(2, (1, 1, 4, 4)).float()
    loss, terms = trainer_of(network).loss(Batch(images, labels), 0.7)
    logits, dice = [images[:, :2], 2 * images[:, :2]], foreground_dice_loss()
    losses = torch.stack([dice(each[:1], labels) for each in logits])
    pseudo = sum(w * each.softmax(dim=1) for w, each in zip(decoder_weights(losses), logits, strict=True)).argmax(1)
    consistency = sum(nn.functional.cross_entropy(each, pseudo) + dice(each, pseudo[:, None]) for each in logits)
    projections = [nn.functional.normalize(images[:1, :2], dim=1)] * 2
    similarity = text_similarity_loss(projections, [each[:1] for each in logits], labels, network.text_vectors)
    assert loss.item() == pytest.approx((losses.sum() / 2 + 0.7 * consistency + similarity / 2).item(), rel=1e-5)
    assert set(terms) == {"supervised", "similarity", "consistency", "consistency_dice"}
    gradient = torch.autograd.grad(loss, network.scale)[0]
    scale = torch.ones(1, requires_grad=True)
    logits, losses = [scale * each for each in logits], [dice(scale * each[:1], labels) for each in logits]
    again = sum(nn.functional.cross_entropy(each, pseudo) + dice(each, pseudo[:, None]) for each in logits)
    (expected,) = torch.autograd.grad(sum(losses) / 2 + 0.7 * again, scale)  # lengths do not change cosines
    assert gradient.item() == pytest.approx(expected.item(), abs=1e-4)


def test_the_release_normalises_over_the_width_of_the_maps():
    images, labels = torch.rand(1, 3, 2, 3) + 0.1, torch.zeros(1, 1, 2, 3)
    images[:, 0] += 2  # class 0 everywhere
    text = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    _, terms = trainer_of(PixelNetworks(text), normalised_axis="width").loss(Batch(images, labels), 0.0)
    mean = (images[0, :2] / images[0, :2].norm(dim=2, keepdim=True)).mean(dim=(1, 2))
    cosine = mean @ text[0] / (mean.norm() * text[0].norm())
    assert terms["similarity"].item() == pytest.approx(1 - cosine.item(), abs=1e-5)


def test_without_unlabelled_images_nothing_depends_on_the_weight():
    batch = Batch(torch.rand(2, 3, 4, 4), torch.randint(2, (2, 1, 4, 4)).float())
    trainer = trainer_of(PixelNetworks(torch.eye(2)))
    (loss, terms), (heavy, _) = trainer.loss(batch, 0.0), trainer.loss(batch, 100.0)
    assert loss.item() == heavy.item()
    assert set(terms) == {"supervised", "similarity"}


def test_options_out_of_range_are_refused():
    with pytest.raises(InputError, match="choose 'channels' or 'width'"):
        trainer_of(PixelNetworks(torch.eye(2)), normalised_axis="height")
    with pytest.raises(InputError, match="similarity_weight -1"):
        trainer_of(PixelNetworks(torch.eye(2)), similarity_weight=-1)


# Networks


def test_text_vectors_are_at_right_angles_by_default_and_the_same_for_each_seed():
    first, again, other = (VCLIPSegNetworks(3, seed=seed, widths=WIDTHS).text_vectors for seed in (0, 0, 1))
    torch.testing.assert_close(first @ first.T, 100 * torch.eye(3), atol=1e-3, rtol=0)
    assert torch.equal(first, again) and not torch.allclose(first, other)


def test_text_vectors_of_a_file_reach_the_prediction_and_need_no_file_afterwards(tmp_path):
    vectors = torch.randn(3, 7)
    save_file({"text": vectors}, tmp_path / "text.safetensors")
    networks = VCLIPSegNetworks(3, seed=0, widths=WIDTHS, text_embeddings=str(tmp_path / "text.safetensors")).eval()
    assert torch.equal(networks.text_vectors, vectors)
    assert not any(parameter.shape == vectors.shape for parameter in networks.parameters())
    images = torch.rand(1, 3, 32, 32)
    slim = networks.inference_network()
    rebuilt = type(slim).from_architecture(slim.architecture).eval()
    rebuilt.load_state_dict(slim.state_dict())
    assert torch.equal(rebuilt.logits(images), networks.all_logits_with_projections(images)[0][0])
    rebuilt.text_vectors.mul_(-1)
    assert not torch.allclose(rebuilt.logits(images), slim.logits(images))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"text": torch.ones(2, 4)}, r"holds \[2, 4\] for 3 classes"),
        ({"a": torch.ones(3, 4), "b": torch.ones(3, 4)}, r"holds \[3, 4\], \[3, 4\]"),
        ({"text": torch.tensor([[1.0], [0.0], [1.0]])}, "a row is zero"),
        ({"text": torch.full((3, 4), math.nan)}, "not finite"),
        (b"no tensors", "cannot be read"),
        (None, "no such file"),
    ],
)
def test_a_file_without_a_vector_for_each_class_is_refused(content, found, tmp_path, message_of):
    path = tmp_path / "text.safetensors"
    if isinstance(content, dict):
        save_file(content, path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=found) as error:
        VCLIPSegNetworks(3, widths=WIDTHS, text_embeddings=str(path))
    assert message_of(error).startswith(f"text_embeddings {path}: ")


def test_more_classes_than_channels_are_refused():
    with pytest.raises(InputError, match="text_channels 2: give at least"):
        VCLIPSegNetworks(3, widths=WIDTHS, text_channels=2)


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "resnet18"])
def test_it_trains_with_another_encoder_and_four_classes(encoder):
    network = VCLIPSegNetworks(4, encoder=encoder, seed=0)
    (output,) = run(make_trainer(VCLIPSeg, network, [make_batch(num_classes=4, size=64)]))
    assert output["consistency"] > 0
