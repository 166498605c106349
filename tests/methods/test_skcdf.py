from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn.functional import gelu, softmax

from custom.errors import InputError
from custom.labels import IGNORED_LABEL
from custom.methods import SKCDF, skcdf
from custom.methods.skcdf import balancing_mask, keeping_rates
from custom.methods.trainer import Batch, dice_and_cross_entropy
from custom.networks import SKCDFNetworks, SKCDFUNet
from custom.networks.skcdf_unet import ChannelAttention
from tests.methods.conftest import WIDTHS, make_batch, make_trainer, run

PLAIN = {"widths": WIDTHS, "dropout": (0.0,) * 5, "seed": 0, "image_size": 32}
ALL = torch.ones(2)


def trainer_at(progress, network=None, **options):
    trainer = make_trainer(SKCDF, network or SKCDFNetworks(**PLAIN), [{}], **options)
    trainer.state.epoch_length, trainer.state.max_epochs = 1, 100
    trainer.state.iteration = round(100 * progress) + 1
    return trainer


def batch_of(labelled=2, unlabelled=2, size=32):
    return Batch.read(make_batch(labelled, unlabelled, size=size), torch.device("cpu"))


# Attention


def attend_by_hand(q, k, v):
    """Channels of q [channels, tokens] ask those of k and v, [others, tokens]; scores have mean 0 and variance 1."""
    scores = q @ k.T
    scores = (scores - scores.mean()) / (scores.var(unbiased=False) + 1e-5).sqrt()
    return softmax(scores, dim=1) @ v


def by_hand(block, features, labelled):
    """The block in evaluation mode, patch by patch."""
    rows, channels, height, width = features.shape
    p, heads, result = block.patch, block.heads, torch.zeros_like(features)
    for top in range(0, height, p):
        for left in range(0, width, p):
            patch = features[:, :, top : top + p, left : left + p].flatten(2)
            kernel = block.tokens.weight.flatten(1)
            tokens = (patch @ kernel.T + block.tokens.bias).transpose(1, 2)  # [rows, p^2, C]
            z = block.norm(tokens)
            q, k, v = (linear(z).transpose(1, 2) for linear in (block.q, block.k, block.v))  # [rows, heads C, p^2]
            for row in range(rows):
                if labelled is None:
                    mixed = torch.zeros_like(q[row])
                    for head in range(heads):
                        part = slice(head, None, heads)
                        mixed[part] = attend_by_hand(q[row, part], k[row, part], v[row, part])
                else:
                    asked = slice(labelled, None) if row < labelled else slice(labelled)
                    mixed = attend_by_hand(q[row], k[asked].flatten(0, 1), v[asked].flatten(0, 1))
                values = block.last_norm(block.out(mixed.T) + tokens[row]).T
                result[row, :, top : top + p, left : left + p] = values.unflatten(1, (p, p))
    return gelu(block.last[0](result))


@pytest.mark.parametrize("labelled", [None, 1, 2])
@pytest.mark.parametrize("patch", [2, 4])
def test_attention_between_channels_follows_its_formula(patch, labelled):
    torch.manual_seed(0)
    block, features = ChannelAttention(3, patch).eval(), torch.randn(3, 3, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(block(features, labelled), by_hand(block, features, labelled), atol=1e-4, rtol=1e-4)


def test_what_comes_from_unlabelled_rows_has_no_gradient_in_the_attention():
    block, features = ChannelAttention(3, 2).eval(), torch.randn(4, 3, 4, 4)
    features.requires_grad_()
    block(features, 2)[:2].sum().backward()
    assert features.grad[:2].any() and not features.grad[2:].any()
    features.grad = None
    block.last_norm.weight.data.zero_()[0] = 1.0
    z = block.norm(block.tokens(features.flatten(0, 1)[:, None]).flatten(2).unflatten(0, (4, 3)).permute(0, 3, 2, 1))
    block._ask(z[2:].detach(), z[:2]).sum().backward()
    assert features.grad[:2].any() and not features.grad[2:].any()


def test_other_sizes_are_resized_to_the_trained_bottleneck_and_back():
    network = SKCDFUNet(2, widths=WIDTHS, image_size=48, seed=0).eval()
    assert network.encoder.side == 4  # of 3, the next even number
    features = network.encoder(torch.rand(1, 3, 80, 50))
    assert features[-1].shape[-2:] == (5, 3)


def test_decoders_of_two_kinds_are_refused():
    with pytest.raises(InputError, match="the decoders of SKCDF must be of one kind"):
        SKCDFUNet(upsampling=("bilinear", "transposed"))


# Balancing


def test_the_rarest_class_is_always_kept_and_others_in_its_proportion():
    assert keeping_rates(torch.tensor([100.0, 10.0, 25.0])).tolist() == pytest.approx([0.1, 1.0, 0.4])
    assert keeping_rates(torch.tensor([100.0, 0.0, 25.0])).tolist() == pytest.approx([0.25, 1.0, 1.0])
    assert keeping_rates(torch.zeros(2)).tolist() == [1, 1]


def test_pixels_are_kept_with_the_probability_of_their_class():
    torch.manual_seed(0)
    labels = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2).expand(1, 1, 10_000, 2)
    assert balancing_mask(labels, torch.tensor([0.2, 1.0])).mean(dim=(0, 1, 2)).tolist() == pytest.approx(
        [0.2, 1.0], abs=0.02
    )


def test_dropped_pixels_have_no_gradient_and_count_as_even_predictions_of_the_background(monkeypatch):
    mask = torch.tensor([1.0, 0.0, 1.0]).reshape(1, 1, 1, 3)
    monkeypatch.setattr(skcdf, "balancing_mask", lambda *_: mask)
    logits = torch.randn(1, 2, 1, 3, requires_grad=True)
    labels = torch.tensor([1.0, 1.0, IGNORED_LABEL]).reshape(1, 1, 1, 3)
    loss = trainer_at(0.0)._balanced_loss(logits, labels, ALL)
    loss.backward()
    assert logits.grad[..., 0].all() and not logits.grad[..., 1:].any()
    p = logits.detach()[0, :, 0, 0].softmax(0).tolist()
    cross_entropy = (-math.log(p[1]) + math.log(2)) / 2
    background = 1 - (2 * 0.5 + 1e-5) / (p[0] ** 2 + 0.25 + 1 + 1e-5)
    foreground = 1 - (2 * p[1] + 1e-5) / (p[1] ** 2 + 0.25 + 1 + 1e-5)
    assert loss.item() == pytest.approx((cross_entropy + (background + foreground) / 2) / 2, abs=1e-5)


def test_pixels_of_all_batches_are_counted_without_ignored_ones():
    trainer, labels = trainer_at(0.0), torch.tensor([0.0, 0.0, 1.0, IGNORED_LABEL]).reshape(1, 1, 1, 4)
    trainer._count(labels)
    assert trainer._count(labels).tolist() == [4, 2]
    assert "class_counts" in trainer.network.state_dict()


# The loss


def switch_off(module, _):
    module.eval()


def make_repeatable(network):
    """Switch the dropout of the attention off."""
    for block in (network.deployed.encoder.local_attention, network.deployed.encoder.global_attention):
        block.register_forward_pre_hook(switch_off)
    return network


def test_the_loss_is_the_weighted_sum_of_four_terms(monkeypatch):
    rates_seen = []

    def keep_all(labels, rates):
        rates_seen.append(rates)
        return torch.ones_like(labels)

    monkeypatch.setattr(skcdf, "balancing_mask", keep_all)
    network, batch = make_repeatable(SKCDFNetworks(**PLAIN)), batch_of()
    copied = copy.deepcopy(network).train()
    loss, terms = trainer_at(0.5, network).loss(batch, 0.3)
    main, balanced = copied.logits_of_both_heads(batch.images, 1, 2)
    own, own_balanced = copied.logits_of_both_heads(batch.images[2:], 0)
    supervised = dice_and_cross_entropy()
    expected = {
        "supervised": supervised(main[:2], batch.labels),
        "supervised_balanced": supervised(balanced[:2], batch.labels),
        "pseudo": supervised(own, main[2:].argmax(1, keepdim=True).float()),
        "pseudo_balanced": supervised(own_balanced, balanced[2:].argmax(1, keepdim=True).float()),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(
        {name: term.item() for name, term in expected.items()}, rel=1e-4
    )
    total = terms["supervised"] + terms["supervised_balanced"] + 0.3 * (terms["pseudo"] + terms["pseudo_balanced"])
    assert loss.item() == pytest.approx(total.item(), rel=1e-5)
    torch.testing.assert_close(rates_seen[1], 1 - 0.5 * (1 - rates_seen[0]))


def test_the_decoder_of_labelled_images_learns_from_labels_alone_and_the_other_one_from_pseudo_labels():
    trainer = trainer_at(0.5)
    _, terms = trainer.loss(batch_of(), 1.0)
    unet = trainer.network.deployed
    (terms["supervised"] + terms["supervised_balanced"]).backward(retain_graph=True)
    assert unet.heads[1].weight.grad.any() and unet.heads[0].weight.grad is None
    before = unet.heads[1].weight.grad.clone()
    (terms["pseudo"] + terms["pseudo_balanced"]).backward()
    assert torch.equal(unet.heads[1].weight.grad, before) and unet.heads[0].weight.grad.any()


def test_decoders_and_heads_move_one_after_the_other():
    network = SKCDFNetworks(**PLAIN)
    names = ("heads.0", "heads.1", "balanced.0", "balanced.1")
    parts = (*network.deployed.heads, *network.balanced_heads)
    for value, part in zip((1.0, 2.0, 3.0, 4.0), parts, strict=True):
        part.weight.data.fill_(value)
    network.move(0.9)
    found = {name: part.weight.flatten()[0].item() for name, part in zip(names, parts, strict=True)}
    labelled = 0.9 * 2 + 0.1 * 4
    balanced = 0.9 * 3 + 0.1 * 4
    main = 0.9 * (0.9 * 1 + 0.1 * labelled) + 0.1 * balanced
    assert found == pytest.approx({"heads.0": main, "heads.1": labelled, "balanced.0": balanced, "balanced.1": 4})


def test_without_unlabelled_images_rows_ask_themselves_and_labels_are_all():
    network, batch = make_repeatable(SKCDFNetworks(**PLAIN)), batch_of(2, 0)
    main, _ = copy.deepcopy(network).train().logits_of_both_heads(batch.images, 1, None)
    loss, terms = trainer_at(0.5, network).loss(batch, 1.0)
    assert terms["supervised"].item() == pytest.approx(dice_and_cross_entropy()(main, batch.labels).item(), rel=1e-4)
    assert loss.item() == pytest.approx((terms["supervised"] + terms["supervised_balanced"]).item())


def test_a_decay_out_of_range_is_refused():
    with pytest.raises(InputError, match="decay 2: give a number from 0 to 1"):
        trainer_at(0.0, decay=2)


@pytest.mark.parametrize("encoder", ["efficientnet-lite0", "resnet18"])
def test_it_trains_with_another_encoder_and_four_classes(encoder):
    network = SKCDFNetworks(4, encoder=encoder, image_size=64, seed=0)
    (output,) = run(make_trainer(SKCDF, network, [make_batch(2, 1, num_classes=4, size=64)]))
    assert output["pseudo"] > 0
