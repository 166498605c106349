from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from custom.errors import InputError
from custom.methods import CrossDistillationOfAttentions
from custom.methods.cdma import distillation_loss, entropy_of_mean
from custom.methods.trainer import dice_and_cross_entropy
from custom.networks import AttentionUNet
from tests.methods.conftest import make_batch, make_trainer, run

SIZE = 4


class Answers(nn.Module):
    """Three decoders whose logits are parameters."""

    def __init__(self, num_classes=2, rows=3):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shape = (rows, num_classes, SIZE, SIZE)
        self.answers = nn.ParameterList(3 * torch.randn(shape, generator=generator) for _ in range(3))

    def all_logits(self, images):
        return [answer[: len(images)] for answer in self.answers]


def outputs_of(batches=1, labelled=1, unlabelled=2, num_classes=2, **options):
    network = Answers(num_classes, labelled + unlabelled)
    data = [make_batch(labelled, unlabelled, num_classes, SIZE)] * batches
    trainer = make_trainer(CrossDistillationOfAttentions, network, data, learning_rate=0.0, **options)
    return network, data[0]["labelled"]["label"], run(trainer)


def test_the_distillation_of_a_pixel_by_hand():
    student = torch.tensor([0.0, 0.0]).reshape(1, 2, 1, 1)
    teacher = torch.tensor([2 * math.log(3), 0.0]).reshape(1, 2, 1, 1)  # 3/4 and 1/4 at the temperature 2
    expected = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert distillation_loss(student, teacher, 2.0).item() == pytest.approx(expected)


def test_equal_logits_have_no_distillation_loss_and_the_teacher_gets_no_gradient():
    logits = torch.randn(2, 3, 4, 4)
    assert distillation_loss(logits, logits + 5, 10.0).item() == pytest.approx(0, abs=1e-4)
    student, teacher = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    distillation_loss(student, teacher, 10.0).backward()
    assert teacher.grad is None and student.grad.any()


def test_a_large_temperature_compares_centred_logits():
    one, other = torch.randn(2, 1, 3, 5, 5).unbind()
    difference = one - other
    centred = difference - difference.mean(dim=1, keepdim=True)
    expected = 0.5 * (centred**2).mean(dim=1).mean()
    assert distillation_loss(one, other, 1000.0).item() == pytest.approx(expected.item(), rel=0.05)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_entropy_is_that_of_the_mean_prediction_from_0_to_1(num_classes):
    even = torch.zeros(1, num_classes, 2, 2)
    certain = even.index_fill(1, torch.tensor([1]), 100.0)
    opposite = even.index_fill(1, torch.tensor([0]), 100.0)
    assert entropy_of_mean([even] * 3).item() == pytest.approx(1, abs=1e-4)
    assert entropy_of_mean([certain] * 3).item() == pytest.approx(0, abs=1e-4)
    assert entropy_of_mean([certain, opposite]).item() == pytest.approx(math.log(2) / math.log(num_classes), abs=1e-4)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_loss_is_the_mean_supervised_one_and_a_tenth_of_the_others_over_all_rows(num_classes):
    network, labels, (output,) = outputs_of(num_classes=num_classes, start=0.0)
    loss = dice_and_cross_entropy()
    supervised = sum(loss(answer[:1], labels) for answer in network.answers) / 3
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    distillation = sum(distillation_loss(network.answers[i], network.answers[j], 10.0) for i, j in pairs) / 3
    entropy = entropy_of_mean(list(network.answers))
    assert output["supervised"].item() == pytest.approx(supervised.item(), rel=1e-5)
    assert output["distillation"].item() == pytest.approx(distillation.item(), rel=1e-5)
    assert output["entropy"].item() == pytest.approx(entropy.item(), rel=1e-5)
    assert output["loss"] == pytest.approx((supervised + 0.1 * (distillation + entropy)).item(), rel=1e-5)
    assert all(answer.grad[0].any() and answer.grad[1:].any() for answer in network.answers)


def test_the_decoders_learn_from_each_other_after_a_tenth_of_the_run():
    _, _, outputs = outputs_of(batches=10)
    assert ["distillation" in output for output in outputs] == [False] + [True] * 9
    assert outputs[0]["loss"] == pytest.approx(outputs[0]["supervised"].item())


def test_without_a_weight_of_its_own_lambda_is_used():
    _, _, (output,) = outputs_of(start=0.0, unsupervised_weight=None)
    others = (output["distillation"] + output["entropy"]).item()
    expected = output["supervised"].item() + 0.1 * math.exp(-5) * others
    assert output["loss"] == pytest.approx(expected, rel=1e-5)


def test_labels_only_leave_the_supervised_loss():
    _, _, (output,) = outputs_of(unlabelled=0, start=0.0)
    assert set(output) == {"loss", "consistency_weight", "supervised"}


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "resnet18"])
def test_it_trains_with_another_encoder(encoder):
    network = AttentionUNet(4, encoder=encoder, decoder_widths=(8,) * 4, seed=0)
    batches = [make_batch(1, 1, num_classes=4, size=64)]
    (output,) = run(make_trainer(CrossDistillationOfAttentions, network, batches, start=0.0))
    assert output["distillation"] > 0
    assert network.eval().inference_network()(torch.rand(1, 3, 33, 47)).shape == (1, 1, 33, 47)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature 0: give a number above 0"),
        ({"start": 1.5}, "start 1.5: give a share of the run"),
        ({"unsupervised_weight": -1}, "unsupervised_weight -1: give a number from 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        outputs_of(**options)
