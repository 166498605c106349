from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.methods import CSCPA
from custom.methods.csc_pa import affinity, certain_pixels, edges, mask_cells, neighbours, signs
from custom.methods.trainer import Batch, dice_and_cross_entropy
from custom.networks import CSCPANetworks
from custom.networks.csc_pa import ChangedFeatures, CrossAttention, correlation_maps
from tests.methods.conftest import WIDTHS, make_batch, make_trainer, moved, run

PLAIN = {"widths": WIDTHS, "dropout": (0.0,) * 5, "seed": 0}


def trainer_at(progress, network=None, **options):
    trainer = make_trainer(CSCPA, network or CSCPANetworks(**PLAIN, memory_size=4), [{}], **options)
    trainer.state.epoch_length, trainer.state.max_epochs = 1, 100
    trainer.state.iteration = round(100 * progress) + 1
    return trainer


def batch_of(labelled=2, unlabelled=2, size=32):
    return Batch.read(make_batch(labelled, unlabelled, size=size), torch.device("cpu"))


def passes_of(rows=2, size=4):
    """Two passes of random numbers, whose logits are as fine as the features."""
    torch.manual_seed(0)
    logits, features = torch.randn(2, rows, 2, size, size), torch.rand(2, rows, 3, size, size)
    return [ChangedFeatures(one, other.requires_grad_()) for one, other in zip(logits, features, strict=True)]


# Pieces


def test_neighbours_are_the_eight_around_and_zeros_beyond_the_image():
    around = neighbours(torch.arange(1.0, 10).reshape(1, 1, 3, 3))
    assert around[0, 0, :, 1, 1].tolist() == [1, 2, 3, 4, 6, 7, 8, 9]
    assert around[0, 0, :, 0, 0].tolist() == [0, 0, 0, 0, 2, 0, 4, 5]


def test_edges_are_where_neighbours_differ():
    classes = torch.zeros(1, 1, 5, 5)
    classes[..., 2:, 2:] = 1
    expected = torch.tensor([[0] * 5, [0, 1, 1, 1, 1], [0, 1, 1, 1, 1], [0, 1, 1, 0, 1], [0, 1, 1, 1, 1]])
    assert torch.equal(edges(classes)[0, 0].int(), expected.int())  # the border of the image ends a lesion


def test_signs_of_two_and_of_more_classes():
    classes, unknown = torch.tensor([[0.0, 1.0, 1.0]]).reshape(1, 1, 1, 3), torch.zeros(1, 1, 1, 3, dtype=torch.bool)
    left, right = 3, 4
    assert signs(classes, 2, unknown)[0, :, 0, 1].tolist() == [0, 0, 0, -1, 1, 0, 0, 0]
    assert signs(classes, 2, unknown)[0, left, 0].tolist() == [0, -1, 1]
    assert signs(2 * classes, 4, unknown)[0, right, 0].tolist() == [-1, 1, 0]
    assert signs(torch.zeros(1, 1, 1, 3), 4, unknown)[0, left, 0].tolist() == [0, 1, 1]
    unknown[..., 0] = True
    assert signs(classes, 2, unknown)[0, left, 0].tolist() == [0, 0, 1]


def test_affinity_weighs_signs_by_the_similarity_of_features():
    features = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).T.reshape(1, 2, 1, 3)
    classes, unknown = torch.tensor([1.0, 1.0, 0.0]).reshape(1, 1, 1, 3), torch.zeros(1, 1, 1, 3, dtype=torch.bool)
    found = affinity(features, signs(classes, 2, unknown))[0, 0].tolist()
    assert found == pytest.approx([1, 0, 1], abs=1e-4)  # the middle one is equally near to both
    features[0, :, 0, 2] = torch.tensor([1.0, 1.0])
    near, far = 1.0, (1 + 1 / math.sqrt(2)) / 2
    assert affinity(features, signs(classes, 2, unknown))[0, 0, 1].item() == pytest.approx(
        (far - near) / (far + near), abs=1e-4
    )


def test_certain_pixels_are_those_below_the_quantile_of_the_entropy():
    logits = torch.stack([torch.zeros(4), torch.tensor([0.0, 1.0, 2.0, 3.0])]).reshape(1, 2, 1, 4)
    assert certain_pixels(logits, 0.5)[0, 0].tolist() == [False, False, True, True]
    assert not certain_pixels(torch.zeros(1, 2, 2, 2), 0.8).any()


def test_the_most_uncertain_foreground_cells_stay_and_most_of_the_others_become_black():
    logits = torch.full((1, 2, 16, 16), -9.0)
    logits[:, 0] = 9.0
    cells = logits.unflatten(3, (8, 2)).unflatten(2, (8, 2))  # a view
    for cell, sure in ((0, 0.1), (1, 1.0), (2, 2.0), (3, 4.0)):
        cells[:, 1, 0, :, cell], cells[:, 0, 0, :, cell] = sure, 0.0
    images = torch.ones(1, 3, 16, 16)
    masked = mask_cells(images, logits, keep=0.4)[0].unflatten(2, (8, 2)).unflatten(1, (8, 2)).amax(dim=(0, 2, 4))
    assert masked[0, 0] == masked[0, 1] == 1  # ceil(0.4 * 4)
    assert (masked == 0).sum() == math.ceil(0.7 * 62)
    assert (mask_cells(images, logits, 0.0) == 0).sum() == 3 * 4 * math.ceil(0.7 * 64)


def test_prototypes_of_channels_are_compared_with_each_position():
    features = torch.randn(1, 2, 3)
    maps = correlation_maps(features)
    for channel in range(2):
        prototype = (features[0, channel].softmax(0) * features[0]).sum(dim=1)
        for position in range(3):
            expected = cosine_similarity(prototype, features[0, :, position], dim=0)
            assert maps[0, channel, position].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("values", ["own", "other"])
def test_cross_attention_follows_its_formula(values):
    layer, own, other = CrossAttention(4, values).eval(), torch.randn(1, 4, 3), torch.randn(1, 4, 3)
    a, b = (each.clamp(min=0)[0].T / math.sqrt(1 + layer.norm.eps) for each in (own, other))
    a, b = a.clamp(min=0), b.clamp(min=0)
    weights = (layer.theta(a) @ layer.phi(b).T).softmax(dim=1)
    expected = a + layer.out(weights @ layer.g(a if values == "own" else b))
    torch.testing.assert_close(layer(own, other)[0].T, expected, atol=1e-5, rtol=1e-4)


# Networks


@pytest.mark.parametrize("softmax", ["positions", "height"])
def test_edges_add_the_mean_of_the_memory_without_a_gradient_once_it_is_filled(softmax):
    network, features = CSCPANetworks(**PLAIN, memory_size=2, edge_softmax=softmax), torch.rand(1, 8, 3, 2)
    assert not network._edges(features).any()
    vectors = torch.rand(2, 8)
    network.remember(vectors)
    edge = vectors.mean(dim=0)
    cosines = cosine_similarity(features[0], edge[:, None, None], dim=0)
    attention = cosines.softmax(dim=0) if softmax == "height" else cosines.flatten().softmax(0).view(3, 2)
    torch.testing.assert_close(network._edges(features)[0], edge[:, None, None] * attention)
    assert not network._edges(features.requires_grad_()).requires_grad


def test_the_memory_keeps_most_of_what_it_has_and_few_vectors_change_nothing():
    network = CSCPANetworks(**PLAIN, memory_size=2)
    first, second = torch.rand(3, 8), torch.rand(2, 8)
    network.remember(first[:1])
    assert not network.is_filled
    network.remember(first)
    assert torch.equal(network.memory, first[:2])
    network.remember(second)
    torch.testing.assert_close(network.memory, 0.99 * first[:2] + 0.01 * second)


def test_the_released_memory_is_a_fixed_linear_mixture():
    network = CSCPANetworks(**PLAIN, memory_size=2, memory_update="released")
    first, second = torch.rand(2, 8), torch.rand(2, 8)
    network.remember(first)
    network.remember(second)
    expected = network.mixture_weight @ torch.cat([first, second]) + network.mixture_bias[:, None]
    torch.testing.assert_close(network.memory, expected)
    assert not any("mixture" in name for name, _ in network.named_parameters())


def test_each_row_looks_at_one_of_the_other_kind_and_the_prediction_at_none():
    network, images = CSCPANetworks(**PLAIN).eval(), torch.rand(3, 3, 32, 32)
    before = network.changed(images, 1).logits
    other = images.clone()
    other[2] = torch.rand(3, 32, 32)
    after = network.changed(other, 1).logits
    assert torch.equal(before[:2], after[:2])  # the labelled row and the first unlabelled one have each other
    other[0] = torch.rand(3, 32, 32)
    assert not torch.equal(network.changed(other, 1).logits[1], before[1])
    assert torch.equal(network.inference_network().logits(images[:1]), network.deployed.logits(images[:1]))


# Losses


def test_the_first_loss_is_supervised_with_the_affinity():
    trainer, batch = trainer_at(0.5), batch_of()
    first = trainer._pass(batch.images, 2)
    loss, terms = trainer.first_loss(batch, first)
    assert terms["supervised"].item() == pytest.approx(dice_and_cross_entropy()(first.logits[:2], batch.labels).item())
    assert loss.item() == pytest.approx((terms["supervised"] + terms["affinity"]).item())


def test_the_second_loss_has_cross_entropy_over_certain_pixels_times_pixels_over_their_number():
    trainer, (first, second) = trainer_at(0.5, affinity="off"), passes_of()
    batch = Batch(torch.rand(2, 3, 4, 4), torch.randint(2, (1, 1, 4, 4)).float())
    loss, terms = trainer.second_loss(batch, first, second)
    certain = certain_pixels(first.logits[1:], 0.9)[0]
    kept = [
        cross_entropy(second.logits[1, :, row, column], first.logits[1, :, row, column].argmax())
        for row, column in certain.nonzero().tolist()
    ]
    assert len(kept) == 14
    assert terms["pseudo"].item() == pytest.approx(16 / 14 * (sum(kept) / 14).item(), rel=1e-5)
    supervised = dice_and_cross_entropy()(second.logits[:1], batch.labels)
    assert loss.item() == pytest.approx((supervised + terms["pseudo"]).item(), rel=1e-5)


def test_where_nothing_is_certain_the_pseudo_labels_teach_nothing():
    trainer, (_, second) = trainer_at(0.5, affinity="off"), passes_of()
    batch = Batch(torch.rand(2, 3, 4, 4), torch.zeros(1, 1, 4, 4))
    even = ChangedFeatures(torch.zeros(2, 2, 4, 4), second.features)
    assert trainer.second_loss(batch, even, second)[1]["pseudo"] == 0


def divergence_by_hand(predicted, target):
    """KL of the softmax over each column, summed over positions, of one image."""
    p, q = ((predicted + 1) / 2).softmax(0), ((target + 1) / 2).softmax(0)
    return (q * (q / p).log()).sum().item()


def test_the_labelled_affinity_is_compared_with_the_mean_sign_of_the_true_neighbours():
    trainer, (first, _) = trainer_at(0.5), passes_of(rows=1)
    labels = torch.randint(2, (1, 1, 4, 4)).float()
    labels[0, 0, 1, 1] = IGNORED_LABEL
    batch = Batch(torch.rand(1, 3, 4, 4), labels)
    loss = trainer.labelled_affinity_loss(batch, first)
    unknown = labels == IGNORED_LABEL
    predicted = affinity(first.features, signs(first.logits.argmax(1, keepdim=True).float(), 2, unknown))[0]
    target = torch.zeros(4, 4)
    for row in range(4):
        for column in range(4):
            around = [
                labels[0, 0, r, c].item()
                for r in range(max(row - 1, 0), min(row + 2, 4))
                for c in range(max(column - 1, 0), min(column + 2, 4))
                if (r, c) not in ((row, column), (1, 1))
            ]
            target[row, column] = sum(1 if value else -1 for value in around) / len(around)
    assert loss.item() == pytest.approx(divergence_by_hand(predicted, target), abs=1e-5)


def test_the_unlabelled_affinity_is_compared_with_that_of_the_first_pass():
    trainer, (first, second) = trainer_at(0.5), passes_of()
    batch = Batch(torch.rand(2, 3, 4, 4), torch.zeros(1, 1, 4, 4))
    loss = trainer.unlabelled_affinity_loss(batch, first, second)
    uncertain = ~certain_pixels(first.logits[1:], 0.9)[:, None]
    predicted, target = (
        affinity(one.features[1:], signs(one.logits[1:].argmax(1, keepdim=True).float(), 2, uncertain))[0]
        for one in (second, first)
    )
    assert loss.item() == pytest.approx(divergence_by_hand(predicted, target), abs=1e-5)
    loss.backward()
    assert second.features.grad[1].any() and first.features.grad is None


@pytest.mark.parametrize(("kind", "learns"), [("differentiable", True), ("released", False)])
def test_the_released_affinity_has_no_gradient(kind, learns):
    trainer, (first, _) = trainer_at(0.5, affinity=kind), passes_of()
    batch = Batch(torch.rand(2, 3, 4, 4), torch.randint(2, (1, 1, 4, 4)).float())
    loss = trainer.labelled_affinity_loss(batch, first)
    assert loss > 0 and loss.requires_grad == learns


def test_features_of_edges_are_those_of_right_and_certain_pixels():
    trainer, (first, _) = trainer_at(0.5), passes_of()
    batch = Batch(torch.rand(2, 3, 4, 4), torch.randint(2, (1, 1, 4, 4)).float())
    classes, certain = first.logits.argmax(1), certain_pixels(first.logits[1:], 0.9)[0]
    at_edges = edges(classes[:, None].float())[:, 0]
    expected = {
        tuple(first.features[row, :, y, x].tolist())
        for row, y, x in at_edges.nonzero().tolist()
        if (classes[0, y, x] == batch.labels[0, 0, y, x] if row == 0 else certain[y, x])
    }
    assert {tuple(vector) for vector in trainer.edge_features(batch, first).tolist()} == expected != set()


# Iterations


def test_it_begins_with_labels_alone_and_the_plain_network():
    for progress, unlabelled in ((0.04, 2), (0.5, 0)):
        trainer, batch = trainer_at(progress), batch_of(2, unlabelled)
        before = copy.deepcopy(trainer.network)
        loss, terms = trainer.step(batch, 0.0)
        expected = dice_and_cross_entropy()(
            copy.deepcopy(before).train().deployed.logits(batch.images[:2]), batch.labels
        )
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4) and list(terms) == ["supervised"]
        assert all(name.startswith("deployed.") for name in moved(before, trainer.network))


def test_the_memory_is_filled_by_the_first_whole_iteration():
    trainer = trainer_at(0.5)
    trainer.step(batch_of(size=64), 0.0)
    assert trainer.network.is_filled and trainer.network.memory.any()
    assert trainer.certain_share == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("options", "message"), [({"warm_up": -1}, "warm_up -1: give a share"), ({"affinity": "on"}, "'released' or 'off'")]
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        trainer_at(0.0, **options)


@pytest.mark.parametrize("key", ["memory_update", "edge_softmax", "attention_values"])
def test_unknown_choices_of_the_network_are_refused(key):
    with pytest.raises(InputError, match=f"{key} 'none': choose"):
        CSCPANetworks(**{key: "none"})


def test_it_trains_with_another_encoder_and_four_classes():
    network = CSCPANetworks(4, encoder="efficientnet-lite0", seed=0)
    (output,) = run(make_trainer(CSCPA, network, [make_batch(2, 1, num_classes=4, size=64)], warm_up=0.0))
    assert output["pseudo"] > 0
