from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from custom.errors import InputError
from custom.methods import InterpolationConsistency
from custom.methods.trainer import Batch, dice_and_cross_entropy
from custom.networks import MeanTeacher
from tests.methods.conftest import learn, make_batch, make_trainer, make_unet, moved, run


class PixelNetwork(nn.Module):
    """The colours themselves are the logits, times a weight that can learn."""

    num_classes = 2

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def logits(self, images):
        return self.scale * images[:, :2]


class FixedFactors:
    """In place of the Beta distribution."""

    def __init__(self, *factors):
        self.values = torch.tensor(factors)

    def sample(self, shape):
        assert shape == (len(self.values), 1, 1, 1)
        return self.values.reshape(shape)


def make_ict(network=None, batches=None, **options):
    return make_trainer(InterpolationConsistency, network or MeanTeacher(PixelNetwork()), batches or [{}], **options)


def pixel(first, second):
    """An image [1, 3, 1, 1] with these two logits."""
    return torch.tensor([[first, second, 0.0]]).reshape(1, 3, 1, 1)


def foreground(first, second):
    """Softmax probability of the second class."""
    return torch.tensor(second - first).sigmoid().item()


LABELLED, LABEL = pixel(0.0, 1.0), torch.ones(1, 1, 1, 1)


def test_the_loss_of_one_pair_by_hand():
    trainer = make_ict()
    trainer.factors = FixedFactors(0.25)
    trainer.network.teacher.scale.data.fill_(2.0)
    batch = Batch(torch.cat([LABELLED, pixel(0.0, 2.0), pixel(1.0, -1.0)]), LABEL)
    loss, terms = trainer.loss(batch, 0.3)
    # 0.75 (0, 2) + 0.25 (1, -1) = (0.25, 1.25); the teacher's logits are twice the colours.
    target = 0.75 * foreground(0.0, 4.0) + 0.25 * foreground(2.0, -2.0)
    consistency = (foreground(0.25, 1.25) - target) ** 2  # the other class differs as much
    supervised = dice_and_cross_entropy()(LABELLED[:, :2], LABEL).item()
    assert terms["consistency"].item() == pytest.approx(consistency, abs=1e-6)
    assert loss.item() == pytest.approx(supervised + 0.3 * consistency, abs=1e-6)


def test_every_pair_has_a_factor_of_its_own():
    trainer = make_ict()
    trainer.factors = FixedFactors(0.0, 1.0)  # pairs (0, 2) and (1, 3): their mixtures are images 0 and 3
    trainer.network.teacher.scale.data.zero_()  # answers 1/2
    images = torch.cat([pixel(0.0, 1.0), pixel(0.0, 2.0), pixel(0.0, 3.0), pixel(0.0, 4.0)])
    _, terms = trainer.loss(Batch(torch.cat([LABELLED, images]), LABEL), 1.0)
    expected = ((foreground(0.0, 1.0) - 0.5) ** 2 + (foreground(0.0, 4.0) - 0.5) ** 2) / 2
    assert terms["consistency"].item() == pytest.approx(expected, abs=1e-6)


def test_a_single_unlabelled_image_is_mixed_with_itself():
    trainer = make_ict()
    trainer.network.teacher.scale.data.zero_()
    _, terms = trainer.loss(Batch(torch.cat([LABELLED, pixel(0.0, 1.0)]), LABEL), 1.0)
    assert terms["consistency"].item() == pytest.approx((foreground(0.0, 1.0) - 0.5) ** 2, abs=1e-6)


def test_of_three_images_the_middle_one_is_in_both_pairs():
    trainer = make_ict()
    trainer.factors = FixedFactors(1.0, 0.0)  # pairs (0, 1) and (1, 2): both mixtures are image 1
    trainer.network.teacher.scale.data.zero_()
    images = torch.cat([pixel(0.0, 9.0), pixel(0.0, 1.0), pixel(0.0, 7.0)])
    _, terms = trainer.loss(Batch(torch.cat([LABELLED, images]), LABEL), 1.0)
    assert terms["consistency"].item() == pytest.approx((foreground(0.0, 1.0) - 0.5) ** 2, abs=1e-6)


def test_factors_come_from_the_beta_distribution_and_torchs_generator():
    trainer = make_ict(alpha=0.2)
    torch.manual_seed(0)
    first = trainer.factors.sample((4000,))
    torch.manual_seed(0)
    assert torch.equal(first, trainer.factors.sample((4000,)))
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)) = 0.17857.
    assert first.mean().item() == pytest.approx(0.5, abs=0.03)
    assert first.var().item() == pytest.approx(0.17857, abs=0.01)


def test_without_unlabelled_images_the_supervised_loss_is_all():
    loss, terms = make_ict().loss(Batch(LABELLED, LABEL), 0.3)
    assert loss is terms["supervised"] and list(terms) == ["supervised"]
    assert loss.item() == pytest.approx(dice_and_cross_entropy()(LABELLED[:, :2], LABEL).item(), abs=1e-6)


def test_the_student_learns_by_gradient_and_the_teacher_follows():
    network = MeanTeacher(make_unet(num_classes=3))
    before = copy.deepcopy(network)
    trainer = make_ict(network, [make_batch(num_classes=3)] * 3)
    run(trainer)
    names = moved(before, network)
    assert {name.split(".")[0] for name in names} == {"deployed", "average"}
    assert all(parameter.grad is None for parameter in network.teacher.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.student.heads.parameters())


@pytest.mark.learning
def test_it_learns_to_find_discs():
    learnt = learn(InterpolationConsistency, MeanTeacher(make_unet()))
    assert learnt.last_loss < learnt.first_loss / 2
    assert learnt.dice > 0.8


def test_an_alpha_of_zero_is_refused():
    with pytest.raises(InputError, match="above 0"):
        make_ict(alpha=0)
