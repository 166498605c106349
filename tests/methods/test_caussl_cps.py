from __future__ import annotations

import copy
import math

import pytest
import torch

from custom.errors import InputError
from custom.losses import ConsistencyWeight
from custom.methods import CrossPseudoSupervisionWithCauSSL
from custom.methods.caussl_cps import best_coefficients, explained_share
from custom.methods.trainer import Batch
from custom.networks import NetworkPair, UNet, UNetPair
from tests.methods.conftest import WIDTHS, make_batch, make_trainer, make_unet, run


def make_pair():
    return NetworkPair(*(make_unet(seed=seed, widths=WIDTHS[:2], dropout=False) for seed in (0, 1)))


def trainer_at(iteration, network=None, total=1000, **options):
    """A trainer in its run, at an iteration counted from 0, whose `loss` can be called by itself."""
    trainer = make_trainer(CrossPseudoSupervisionWithCauSSL, network or make_pair(), [{}], **options)
    trainer.state.epoch_length, trainer.state.max_epochs, trainer.state.iteration = 1, total, iteration + 1
    return trainer


def random_filters(rows, columns, seed, dtype=torch.float64):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def whole_batch(labelled=2, unlabelled=2):
    return Batch.read(make_batch(labelled, unlabelled), torch.device("cpu"))


# How much the other network's filters explain


def test_the_explained_share_is_the_mean_squared_cosine_of_each_row_with_its_combination():
    own = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]])
    other = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    coefficients = torch.tensor([[5.0, 0.0], [1.0, 1.0]])  # combinations (5, 0, 0) and (1, 1, 1)
    assert explained_share(own, other, coefficients).item() == pytest.approx((0.36 + 1 / 3) / 2)


def test_the_best_coefficients_project_each_row_onto_the_span_of_the_other_rows():
    own, other = random_filters(3, 7, 0), random_filters(3, 7, 1)
    orthonormal, _ = torch.linalg.qr(other.T)
    expected = ((own @ orthonormal) ** 2).sum(dim=1) / (own**2).sum(dim=1)
    best = explained_share(own, other, best_coefficients(own, other))
    assert best.item() == pytest.approx(expected.mean().item(), rel=1e-5)


def test_no_other_coefficients_explain_more():
    own, other = random_filters(3, 7, 0), random_filters(3, 7, 1)
    best, found = best_coefficients(own, other), torch.zeros(3, 3, dtype=own.dtype).normal_().requires_grad_()
    optimizer = torch.optim.Adam([found], lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        (-explained_share(own, other, found)).backward()
        optimizer.step()
    reached, largest = explained_share(own, other, found).item(), explained_share(own, other, best).item()
    assert 0.97 * largest < reached <= largest + 1e-6


def test_combinations_of_the_other_rows_are_explained_wholly():
    other = random_filters(3, 7, 1)
    own = random_filters(3, 3, 0) @ other
    assert explained_share(own, other, best_coefficients(own, other)).item() == pytest.approx(1, abs=1e-5)


def test_dependent_or_dead_filters_leave_everything_finite():
    other = torch.zeros(3, 7)
    own = random_filters(3, 7, 0, torch.float32).requires_grad_()
    for filters in (other, other + 1):
        coefficients = best_coefficients(own, filters)
        share = explained_share(own, filters, coefficients)
        share.backward()
        assert coefficients.isfinite().all() and share.isfinite() and own.grad.isfinite().all()


def test_with_the_best_coefficients_the_gradient_is_that_of_the_projection_and_goes_into_the_own_filters_alone():
    own, other = random_filters(3, 7, 0).requires_grad_(), random_filters(3, 7, 1).requires_grad_()
    explained_share(own, other, best_coefficients(own, other)).backward()
    orthonormal, _ = torch.linalg.qr(other.detach().T)
    share = (((own @ orthonormal) ** 2).sum(dim=1) / (own**2).sum(dim=1)).mean()
    (expected,) = torch.autograd.grad(share, own)
    torch.testing.assert_close(own.grad, expected, rtol=1e-4, atol=1e-6)
    assert other.grad is None


def test_random_filters_of_the_u_net_are_explained_by_a_fifth():
    """For random weights the share is filters / weights of a filter: 0.205 over the 23 convolutions of the U-Net."""
    trainer = make_trainer(CrossPseudoSupervisionWithCauSSL, UNetPair(seed=0), [])
    assert len(trainer.coefficients) == 2 * 23
    trainer.maximise()
    assert [share.item() for share in trainer.independence()] == pytest.approx([0.205, 0.205], abs=0.01)


def test_convolutions_of_as_many_filters_as_weights_in_each_are_left_out():
    network = NetworkPair(*(UNet(in_channels=1, widths=(9, 8), dropout=(0, 0), seed=seed) for seed in (0, 1)))
    trainer = make_trainer(CrossPseudoSupervisionWithCauSSL, network, [])
    kept = [len(each) for each in trainer.coefficients]
    # Left out: the first one, 9 filters of 9 weights, and the up-sampling, 9 filters of 8 weights.
    assert kept == [9, 8, 8, 9, 9, 2] * 2


# The loss


@pytest.mark.parametrize("inner", ["closed", "adam"])
def test_the_loss_adds_its_terms_with_their_weights(inner):
    trainer = trainer_at(168, inner=inner, max_steps=20)
    loss, terms = trainer.loss(whole_batch(), 0.05)
    assert 0.05 < terms["independence_first"] < 0.9
    supervised = terms["supervised_first"] + terms["supervised_second"]
    cross = terms["cross_first"] + terms["cross_second"]
    independence = terms["independence_first"] + terms["independence_second"]
    assert loss.item() == pytest.approx((supervised + 0.3 * 0.05 * cross + 3 * independence).item(), rel=1e-5)


def test_the_independence_of_each_network_teaches_that_network_alone():
    trainer = trainer_at(168)
    _, terms = trainer.loss(whole_batch(), 0.05)
    terms["independence_first"].backward()
    assert trainer.network.first.decoders[0].stages[0].block.first.conv.weight.grad.any()
    assert all(parameter.grad is None for parameter in trainer.network.second.parameters())
    assert all(parameter.grad is None for parameter in trainer.coefficients)


def test_pseudo_labels_begin_before_independence_and_nothing_begins_without_unlabelled_images():
    pair = make_pair()
    for iteration, cross, independent in ((79, False, False), (80, True, False), (107, True, False), (108, True, True)):
        trainer = trainer_at(iteration, copy.deepcopy(pair))
        loss, terms = trainer.loss(whole_batch(), 10.0)
        supervised = (terms["supervised_first"] + terms["supervised_second"]).item()
        assert (loss.item() > supervised + 1) == cross
        assert ("independence_first" in terms) == independent
    loss, terms = trainer_at(168).loss(whole_batch(2, 0), 10.0)
    assert set(terms) == {"supervised_first", "supervised_second"}
    assert loss.item() == pytest.approx(sum(terms.values()).item())


def test_max_steps_come_at_the_start_and_every_interval_from_there(monkeypatch):
    calls = []
    maximise = CrossPseudoSupervisionWithCauSSL.maximise
    monkeypatch.setattr(
        CrossPseudoSupervisionWithCauSSL,
        "maximise",
        lambda self: (calls.append(self.state.iteration - 1), maximise(self)),
    )
    options = {"interval": 3, "independence_start": 0.15, "consistency_weight": ConsistencyWeight(0.1)}
    run(make_trainer(CrossPseudoSupervisionWithCauSSL, make_pair(), [make_batch()] * 10, **options))
    assert calls == [2, 5, 8]


def test_training_makes_filters_independent():
    pair = make_pair()
    options = {"independence_start": 0.0, "interval": 1, "independence_weight": 30.0}
    trainer = make_trainer(CrossPseudoSupervisionWithCauSSL, pair, [make_batch()] * 10, learning_rate=0.1, **options)
    outputs = run(trainer)
    assert outputs[-1]["independence_first"] < 0.9 * outputs[0]["independence_first"]


def test_adam_reaches_almost_the_best():
    torch.manual_seed(0)
    pair = make_pair()
    found = {}
    for inner in ("closed", "adam"):
        trainer = make_trainer(CrossPseudoSupervisionWithCauSSL, pair, [], inner=inner)
        trainer.maximise()
        found[inner] = trainer.independence()[0].item()
    assert 0.8 * found["closed"] < found["adam"] <= found["closed"] + 1e-6


def test_it_trains_with_another_encoder():
    network = UNetPair(4, encoder="efficientnet-lite0", decoder_widths=(8,) * 4, seed=0)
    options = {"independence_start": 0.0}
    (output,) = run(make_trainer(CrossPseudoSupervisionWithCauSSL, network, [make_batch(1, 1, 4, size=64)], **options))
    assert 0 < output["independence_first"] < 1 and math.isfinite(output["loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner": "newton"}, "inner 'newton': choose 'closed' or 'adam'"),
        ({"cross_start": 2}, "cross_start 2: give a share of the run"),
        ({"independence_start": -1}, "independence_start -1: give a share of the run"),
        ({"independence_weight": -1}, "independence_weight -1: give a number from 0"),
        ({"interval": 0}, "interval 0: give a whole number from 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        trainer_at(0, **options)


def test_networks_of_other_layers_are_refused():
    pair = NetworkPair(make_unet(), make_unet(widths=(*WIDTHS[:-1], 16)))
    with pytest.raises(InputError, match="filters of two networks"):
        trainer_at(0, pair)
